//! Definitions as bytes, as they stand in the schema table: on discs, in logs and at other members. Every format that was
//! ever written is read; the newest is written.
//!
//! The first format was the bare structure, which begins with the table's id and so never with a zero byte. All others
//! begin with a zero byte and the number of the format.

use serde::Deserialize;

use super::attribute::{Attribute, Type};
use super::placement::{Ack, Kind, Mode, TableCopy};
use super::retention::Retention;
use super::table_def::{IndexDef, TableDef};
use crate::codec::{self, CodecError};
use crate::ids::{IndexId, SchemaVersion, TableId};
use crate::limits::MESSAGE_BYTES_MAX;

const NUMBERED: u8 = 0;
const SECOND: u8 = 2;

impl TableDef {
    /// The definition as bytes, in the newest format.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![NUMBERED, SECOND];
        codec::encode_into(self, &mut bytes);
        bytes
    }

    /// A definition of any format.
    ///
    /// # Errors
    /// When the bytes are no definition, or one of a later version of this program.
    pub fn from_bytes(bytes: &[u8]) -> Result<TableDef, CodecError> {
        match bytes {
            [NUMBERED, SECOND, rest @ ..] => codec::decode(rest, MESSAGE_BYTES_MAX),
            [NUMBERED, later, ..] => Err(CodecError::Undecodable(format!(
                "a definition of format {later}, this version knows up to {SECOND}"
            ))),
            _ => codec::decode::<FirstTable>(bytes, MESSAGE_BYTES_MAX).map(TableDef::from),
        }
    }
}

/// A definition as version 0.1 wrote it.
#[derive(Deserialize)]
struct FirstTable {
    id: TableId,
    #[serde(deserialize_with = "crate::codec::text")]
    name: String,
    version: SchemaVersion,
    kind: Kind,
    attributes: Vec<FirstAttribute>,
    key: Vec<usize>,
    indexes: Vec<FirstIndex>,
    copies: Vec<TableCopy>,
    ack: Ack,
    mode: Mode,
}

#[derive(Deserialize)]
struct FirstAttribute {
    #[serde(deserialize_with = "crate::codec::text")]
    name: String,
    ty: Type,
    nullable: bool,
}

#[derive(Deserialize)]
struct FirstIndex {
    id: IndexId,
    #[serde(deserialize_with = "crate::codec::text")]
    name: String,
    attributes: Vec<usize>,
    unique: bool,
}

impl From<FirstTable> for TableDef {
    fn from(first: FirstTable) -> TableDef {
        let attribute = |one: FirstAttribute| Attribute {
            name: one.name,
            ty: one.ty,
            nullable: one.nullable,
            default: None,
        };
        let index = |one: FirstIndex| IndexDef {
            id: one.id,
            name: one.name,
            attributes: one.attributes,
            unique: one.unique,
            multi: false,
        };
        TableDef {
            id: first.id,
            name: first.name,
            version: first.version,
            kind: first.kind,
            attributes: first.attributes.into_iter().map(attribute).collect(),
            key: first.key,
            indexes: first.indexes.into_iter().map(index).collect(),
            copies: first.copies,
            ack: first.ack,
            mode: first.mode,
            retention: Retention::default(),
            local: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_of_the_first_format_are_read() {
        // Aim: a data directory of version 0.1 opens. Method: bytes that version wrote, by hand: table 7 "t", version 1,
        // set, attributes "k" int and "v" text or null, key 0, index 1 "by_v" over 1, no copies, logged, strong.
        let bytes = [
            7, 1, b't', 1, 0, 2, 1, b'k', 2, 0, 1, b'v', 4, 1, 1, 0, 1, 1, 4, b'b', b'y', b'_', b'v', 1, 1,
            0, 0, 1, 0,
        ];
        let table = TableDef::from_bytes(&bytes).expect("the first format");
        let wanted = TableDef::builder("t").attribute("k", Type::Int).nullable("v", Type::Text);
        let wanted = TableDef { id: TableId(7), ..wanted.index("by_v", ["v"]).build().expect("right") };
        assert_eq!(table, wanted);
        assert_eq!(TableDef::from_bytes(&wanted.to_bytes()), Ok(wanted));
    }

    #[test]
    fn a_later_format_is_named() {
        // Aim: a directory of a later version is refused for what it is. Method: a format number that is not taken yet.
        let error = TableDef::from_bytes(&[0, 9, 1, 2, 3]).expect_err("nobody knows it");
        assert!(error.to_string().contains("format 9"), "{error}");
    }
}
