#!/usr/bin/env python3
"""Writes the fields of Istio's and the Gateway API's objects as a table: kind, path, type, values.

    tools/schema.py ISTIO_API_DIR GATEWAY_API_DIR VERSIONS >xds-server/compile/tests/fields/schema.tsv

The source is the CRDs of both, and for MeshConfig, which has none, the proto files of istio.io/api. Only facts are
taken: names, types, enumerations, formats. tools/fetch-schemas.sh brings both modules.
"""

import re
import sys
from pathlib import Path

import yaml


def crds(texts):
    for text in texts:
        for document in yaml.safe_load_all(text):
            if document and document.get("kind") == "CustomResourceDefinition":
                yield document["spec"]


def walk(path, schema, rows):
    kind = schema.get("type") or ("int-or-string" if schema.get("x-kubernetes-int-or-string") else "any")
    values = ",".join(str(value) for value in schema.get("enum", [])) or schema.get("format", "")
    extra = schema.get("additionalProperties")
    if kind == "object" and isinstance(extra, dict):
        kind = "map"
    elif kind == "object" and not schema.get("properties"):
        kind = "any" if schema.get("x-kubernetes-preserve-unknown-fields") else "empty"
    rows[path] = (kind, values)
    for name, below in schema.get("properties", {}).items():
        walk(f"{path}.{name}", below, rows)
    if "items" in schema:
        walk(f"{path}[]", schema["items"], rows)
    if isinstance(extra, dict):
        walk(f"{path}{{}}", extra, rows)


def objects(texts):
    """All versions and both channels are united: a field counts wherever it is."""
    tables = {}
    for spec in crds(texts):
        rows = tables.setdefault((spec["names"]["kind"], spec["group"]), {})
        for version in spec["versions"]:
            top = version["schema"]["openAPIV3Schema"]["properties"]
            if version.get("served", True) and "spec" in top:
                walk("spec", top["spec"], rows)
    return tables


SCALARS = {
    "string": ("string", ""), "bool": ("boolean", ""), "bytes": ("string", "byte"),
    "double": ("number", ""), "float": ("number", ""),
    "google.protobuf.Duration": ("string", "duration"), "google.protobuf.Struct": ("any", ""),
    "google.protobuf.BoolValue": ("boolean", ""), "google.protobuf.StringValue": ("string", ""),
    "google.protobuf.DoubleValue": ("number", ""),
}
for number in ["int32", "int64", "uint32", "uint64"]:
    SCALARS[number] = ("integer", "")
for wrapped in ["Int32Value", "Int64Value", "UInt32Value", "UInt64Value"]:
    SCALARS[f"google.protobuf.{wrapped}"] = ("integer", "")

TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[A-Za-z_][\w.]*|[0-9]+|[{}\[\]<>=;,()-]|\S')


def protos(directory):
    """Messages as {full name: [(field, type, label)]} and enumerations as {full name: [value]}."""
    messages, enums = {}, {}
    for file in sorted(directory.rglob("*.proto")):
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", file.read_text(), flags=re.S)
        tokens = TOKEN.findall(text)
        package = tokens[tokens.index("package") + 1] if "package" in tokens else ""
        parse(tokens, 0, package, messages, enums)
    return messages, enums


def skip(tokens, at):
    """The place behind a statement or block that begins here."""
    depth = 0
    while at < len(tokens):
        if tokens[at] in "{[":
            depth += 1
        elif tokens[at] in "}]":
            depth -= 1
            if depth == 0 and tokens[at] == "}" and (at + 1 == len(tokens) or tokens[at + 1] != ";"):
                return at + 1
        elif tokens[at] == ";" and depth == 0:
            return at + 1
        at += 1
    return at


def parse(tokens, at, scope, messages, enums, fields=None):
    while at < len(tokens) and tokens[at] != "}":
        word = tokens[at]
        if word == "message":
            name = f"{scope}.{tokens[at + 1]}"
            own = messages.setdefault(name, [])
            at = parse(tokens, at + 3, name, messages, enums, own) + 1
        elif word == "enum":
            name, values = f"{scope}.{tokens[at + 1]}", []
            at += 3
            while tokens[at] != "}":
                if tokens[at] not in ("option", "reserved") and tokens[at + 1] == "=":
                    values.append(tokens[at])
                at = skip(tokens, at)
            enums[name] = values
            at += 1
        elif word == "oneof":
            at = parse(tokens, at + 3, scope, messages, enums, fields) + 1
        elif fields is None or word in ("option", "reserved", "extensions", "syntax", "import", "package", ";"):
            at = skip(tokens, at)
        else:
            label = word if word in ("repeated", "optional") else ""
            at += 1 if label else 0
            if tokens[at] == "map":
                end = tokens.index(">", at)
                fields.append((tokens[end + 1], tokens[end - 1], "map"))
            else:
                fields.append((tokens[at + 1], tokens[at], label))
            at = skip(tokens, at)
    return at


def camel(name):
    # Two fields of MeshConfig are written otherwise than by the rule.
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def resolve(name, scope, known):
    parts = scope.split(".")
    for length in range(len(parts), -1, -1):
        full = ".".join([*parts[:length], name])
        if full in known:
            return full
    return None


def message(path, name, messages, enums, rows, above=()):
    for field, kind, label in messages[name]:
        below = f"{path}.{camel(field)}"
        if label in ("repeated", "map"):
            rows[below] = ("array" if label == "repeated" else "map", "")
            below += "[]" if label == "repeated" else "{}"
        if kind in SCALARS:
            rows[below] = SCALARS[kind]
        elif (full := resolve(kind, name, enums)) is not None:
            rows[below] = ("string", ",".join(enums[full]))
        elif (full := resolve(kind, name, messages)) is not None and full not in above:
            rows[below] = ("object" if messages[full] else "empty", "")
            message(below, full, messages, enums, rows, (*above, full))
        else:
            rows[below] = ("any", "")


def main():
    istio, gateway_api, versions = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    texts = [(istio / "kubernetes/customresourcedefinitions.gen.yaml").read_text()]
    texts += [file.read_text() for file in sorted((gateway_api / "config/crd").glob("*/*.yaml"))]
    tables = objects(texts)
    rows = tables.setdefault(("MeshConfig", "istio.mesh.v1alpha1"), {})
    messages, enums = protos(istio)
    message("spec", "istio.mesh.v1alpha1.MeshConfig", messages, enums, rows)
    print(f"# Written by tools/schema.py from {versions}; do not edit.")
    for (kind, group), rows in sorted(tables.items()):
        for path, (of, values) in sorted(rows.items()):
            print(f"{kind}.{group}\t{path}\t{of}\t{values}".rstrip())


if __name__ == "__main__":
    main()
