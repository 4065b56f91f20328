/* SPDX-License-Identifier: Apache-2.0 */
#include <rapport.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    static const char kPath[] = "capture_in_c.rapport";
    static const char kCustomer[] =
        "[{\"kind\":\"customer\",\"fields\":{\"name\":\"Molkerei Morkenhoven\"}}]";
    rapport_store* store = NULL;
    rapport_error* error = NULL;
    rapport_buffer result = {NULL, 0};
    if (rapport_store_open(kPath, strlen(kPath), NULL, &store, &error) != RAPPORT_OK ||
        rapport_store_capture(store, kCustomer, strlen(kCustomer), &result, &error) != RAPPORT_OK) {
        fprintf(stderr, "%s\n", rapport_error_sentence(error));
        return 1;
    }
    printf("%s %s\n", rapport_version(), result.data);
    rapport_buffer_free(&result);
    rapport_store_free(store);
    return 0;
}
