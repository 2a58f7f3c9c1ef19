//! Schemas that the derive does not write by itself.

use schemars::{Schema, SchemaGenerator, json_schema};

/// An object whose fields are judged by the operator and not by the API server.
pub(crate) fn free_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// Amounts of resources by name.
pub(crate) fn amounts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 8,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "pattern": r"^[0-9]{1,18}(\.[0-9]{1,9})?([munkKMGTPE]|[KMGTPE]i)?$",
        },
    })
}

/// Short texts by short names.
pub(crate) fn texts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 1024},
    })
}

/// Values of configuration keys by dotted name.
pub(crate) fn settings(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 4096},
    })
}

/// Ports by the names of those that they lead to.
pub(crate) fn ports(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 8,
        "additionalProperties": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535},
    })
}

/// Keys of taints.
pub(crate) fn taints(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": {"type": "string", "minLength": 1, "maxLength": 317},
    })
}

/// Address ranges.
pub(crate) fn cidrs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": {"type": "string", "maxLength": 49, "pattern": r"^[0-9a-fA-F:.]{2,45}/[0-9]{1,3}$"},
    })
}
