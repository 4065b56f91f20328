#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the numbers of the lines on standard input that do not fit the JSON Schema in the file named: unfit_lines.py SCHEMA"""
import json, sys
import jsonschema

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for number, line in enumerate(sys.stdin, 1):
    error = next(validator.iter_errors(json.loads(line)), None)
    if error:
        print(number)
        print(number, error.message[:200], file=sys.stderr)
