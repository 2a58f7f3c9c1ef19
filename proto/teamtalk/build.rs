//! Compiles the protocol files without `protoc` and derives the validation table from their
//! descriptors, so that the table can never disagree with the messages.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

const FILES: [&str; 9] = [
    "base.proto",
    "login.proto",
    "buddy.proto",
    "message.proto",
    "group.proto",
    "file.proto",
    "switch.proto",
    "other.proto",
    "server.proto",
];

/// Messages that carry a secret: their `Debug` is written by hand (`src/redact.rs`).
const SECRETS: [&str; 5] = [
    ".IM.BaseDefine.UserTokenInfo",
    ".IM.BaseDefine.PushResult",
    ".IM.Login.IMLoginReq",
    ".IM.Login.IMDeviceTokenReq",
    ".IM.Server.IMValidateReq",
];

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=build.rs");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(FILES)?;
    let files = compiler.file_descriptor_set();

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("schema.rs"), table(&files)?)?;
    prost_build::Config::new()
        .bytes(["."])
        .skip_debug(SECRETS)
        .include_file("packages.rs")
        .compile_fds(files)?;
    Ok(())
}

/// A message of the table: `.IM.Login.IMLoginReq` in the table is `ImLoginReq` in Rust.
struct Entry<'a> {
    full_name: String,
    module: String,
    type_name: String,
    message: &'a DescriptorProto,
}

fn table(files: &FileDescriptorSet) -> Result<String, Failure> {
    let mut entries = Vec::new();
    let mut enums = BTreeMap::new();
    for file in &files.file {
        let module = camel_words(file.package().trim_start_matches("IM."))
            .join("_")
            .to_ascii_lowercase();
        for message in &file.message_type {
            if !message.nested_type.is_empty() || !message.enum_type.is_empty() {
                return Err(format!("{}: nested types are not expected", message.name()).into());
            }
            entries.push(Entry {
                full_name: format!(".{}.{}", file.package(), message.name()),
                module: module.clone(),
                type_name: camel_case(message.name()),
                message,
            });
        }
        for declared in &file.enum_type {
            enums.insert(
                format!(".{}.{}", file.package(), declared.name()),
                value_set(declared)?,
            );
        }
    }

    let mut out = String::new();
    write_kinds(&mut out, &entries)?;
    writeln!(
        out,
        "#[allow(non_upper_case_globals, reason = \"one static for each type\")]"
    )?;
    writeln!(
        out,
        "mod rules {{\n    use super::{{FieldKind, FieldRule, Label, MessageRule}};"
    )?;
    for entry in &entries {
        write_rule(&mut out, entry, &entries, &enums)?;
    }
    writeln!(out, "}}")?;
    Ok(out)
}

fn write_kinds(out: &mut String, entries: &[Entry<'_>]) -> Result<(), Failure> {
    writeln!(
        out,
        "/// Every message of the protocol, under its Rust name."
    )?;
    writeln!(
        out,
        "#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]"
    )?;
    writeln!(out, "#[repr(u8)]\npub enum MessageKind {{")?;
    for entry in entries {
        writeln!(out, "    /// `{}`", entry.full_name.trim_start_matches('.'))?;
        writeln!(out, "    {},", entry.type_name)?;
    }
    writeln!(out, "}}\n\nimpl MessageKind {{")?;
    writeln!(
        out,
        "    /// All of them, in the order of the protocol files."
    )?;
    writeln!(out, "    pub const ALL: [Self; {}] = [", entries.len())?;
    for entry in entries {
        writeln!(out, "        Self::{},", entry.type_name)?;
    }
    writeln!(
        out,
        "    ];\n\n    /// What a body of this kind must look like."
    )?;
    writeln!(
        out,
        "    pub const fn rule(self) -> &'static MessageRule {{\n        match self {{"
    )?;
    for entry in entries {
        writeln!(
            out,
            "            Self::{0} => &rules::{0},",
            entry.type_name
        )?;
    }
    writeln!(out, "        }}\n    }}\n")?;
    writeln!(
        out,
        "    /// Checks, decodes and encodes a body again, whatever its kind.\n    ///\n    /// # Errors\n    \
         /// As [`decode_checked`]."
    )?;
    writeln!(
        out,
        "    pub fn canonical(self, body: Bytes) -> Result<Vec<u8>, DecodeError> {{"
    )?;
    writeln!(out, "        match self {{")?;
    for Entry {
        type_name, module, ..
    } in entries
    {
        writeln!(
            out,
            "            Self::{type_name} => canonical::<im::{module}::{type_name}>(body),"
        )?;
    }
    writeln!(out, "        }}\n    }}\n}}\n")?;
    for Entry {
        type_name, module, ..
    } in entries
    {
        writeln!(out, "impl TeamtalkMessage for im::{module}::{type_name} {{")?;
        writeln!(
            out,
            "    const KIND: MessageKind = MessageKind::{type_name};\n}}"
        )?;
    }
    Ok(())
}

fn write_rule(
    out: &mut String,
    entry: &Entry<'_>,
    entries: &[Entry<'_>],
    enums: &BTreeMap<String, u64>,
) -> Result<(), Failure> {
    let mut fields: Vec<_> = entry.message.field.iter().collect();
    fields.sort_by_key(|field| field.number());
    if fields.len() > 64 {
        return Err(format!("{}: more than 64 fields", entry.full_name).into());
    }
    let mut required = 0_u64;
    for (position, field) in fields.iter().enumerate() {
        if field.label() == Label::Required {
            required |= 1 << position;
        }
    }
    let name = &entry.type_name;
    writeln!(
        out,
        "    pub(super) static {name}: MessageRule = MessageRule {{"
    )?;
    writeln!(
        out,
        "        name: {:?},",
        entry.full_name.trim_start_matches('.')
    )?;
    writeln!(out, "        required: {required:#b},\n        fields: &[")?;
    for field in fields {
        let kind = kind_of(field, entries, enums)?;
        let label = match field.label() {
            Label::Required => "Required",
            Label::Optional => "Optional",
            Label::Repeated => "Repeated",
        };
        writeln!(
            out,
            "            FieldRule {{ name: {:?}, number: {}, label: Label::{label}, kind: {kind} }},",
            field.name(),
            field.number(),
        )?;
    }
    writeln!(out, "        ],\n    }};")?;
    Ok(())
}

fn kind_of(
    field: &FieldDescriptorProto,
    entries: &[Entry<'_>],
    enums: &BTreeMap<String, u64>,
) -> Result<String, Failure> {
    let unknown = || -> Failure { format!("unknown type of field {}", field.name()).into() };
    Ok(match field.r#type() {
        Type::Uint32 => "FieldKind::Number".to_owned(),
        Type::String => "FieldKind::Text".to_owned(),
        Type::Bytes => "FieldKind::Bytes".to_owned(),
        Type::Enum => {
            let values = enums.get(field.type_name()).ok_or_else(unknown)?;
            format!("FieldKind::Enum({values:#b})")
        }
        Type::Message => {
            let entry = entries
                .iter()
                .find(|entry| entry.full_name == field.type_name());
            format!(
                "FieldKind::Message(&{})",
                entry.ok_or_else(unknown)?.type_name
            )
        }
        other => return Err(format!("{}: type {other:?} is not expected", field.name()).into()),
    })
}

/// The declared values as a bit set; all of them are small in this protocol.
fn value_set(declared: &EnumDescriptorProto) -> Result<u64, Failure> {
    let mut set = 0_u64;
    for value in &declared.value {
        let number = u32::try_from(value.number())?;
        set |= 1_u64.checked_shl(number).ok_or("an enum value above 63")?;
    }
    Ok(set)
}

/// Splits a name into words as prost does: a capital starts a word when a small letter stands
/// before it or after it.
fn camel_words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words: Vec<String> = Vec::new();
    let mut last_small = false;
    for (position, &letter) in letters.iter().enumerate() {
        let next_small = letters
            .get(position + 1)
            .is_some_and(char::is_ascii_lowercase);
        let starts = letter.is_ascii_uppercase() && (last_small || next_small);
        match words.last_mut() {
            Some(word) if !starts => word.push(letter),
            _ => words.push(letter.to_string()),
        }
        // Digits belong to whatever stands before them.
        if letter.is_ascii_alphabetic() {
            last_small = letter.is_ascii_lowercase();
        }
    }
    words
}

fn camel_case(name: &str) -> String {
    camel_words(name)
        .iter()
        .map(|word| {
            let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
            first.to_ascii_uppercase() + &rest.to_ascii_lowercase()
        })
        .collect()
}
