//! Definitions as bytes, as they stand in the schema table: on discs, in logs and at other members. Every format that was
//! ever written is read; the newest is written.
//!
//! The first format was the bare structure, which begins with the table's id and so never with a zero byte. All others
//! begin with a zero byte and the number of the format.

use serde::Deserialize;

use super::attribute::{Attribute, Type};
use super::placement::{Ack, Kind, Mode, TableCopy};
use super::retention::Retention;
use super::table_def::{IndexDef, Layout, TableDef};
use crate::clock::Timestamp;
use crate::codec::{self, CodecError};
use crate::ids::{IndexId, SchemaVersion, TableId};
use crate::limits::MESSAGE_BYTES_MAX;

const NUMBERED: u8 = 0;
const SECOND: u8 = 2;
const THIRD: u8 = 3;
/// The third one, and behind it which copies count from which epoch on.
const FOURTH: u8 = 4;

impl TableDef {
    /// The definition as bytes, in the newest format that it needs: an older program reads what it knows.
    pub fn to_bytes(&self) -> Vec<u8> {
        let has_coming = !self.coming.is_empty();
        let mut bytes = vec![NUMBERED, if has_coming { FOURTH } else { THIRD }];
        codec::encode_into(self, &mut bytes);
        if has_coming {
            codec::encode_into(&self.coming, &mut bytes);
        }
        bytes
    }

    /// A definition of any format.
    ///
    /// # Errors
    /// When the bytes are no definition, or one of a later version of this program.
    pub fn from_bytes(bytes: &[u8]) -> Result<TableDef, CodecError> {
        match bytes {
            [NUMBERED, FOURTH, rest @ ..] => {
                let (def, coming): (TableDef, _) = codec::decode(rest, MESSAGE_BYTES_MAX)?;
                checked(TableDef { coming, ..def })
            }
            [NUMBERED, THIRD, rest @ ..] => checked(codec::decode(rest, MESSAGE_BYTES_MAX)?),
            [NUMBERED, SECOND, rest @ ..] => {
                codec::decode::<SecondTable>(rest, MESSAGE_BYTES_MAX).map(TableDef::from)
            }
            [NUMBERED, later, ..] => Err(CodecError::Undecodable(format!(
                "a definition of format {later}, this version knows up to {FOURTH}"
            ))),
            _ => codec::decode::<FirstTable>(bytes, MESSAGE_BYTES_MAX).map(TableDef::from),
        }
    }
}

/// What the rest of the program takes for granted.
fn checked(def: TableDef) -> Result<TableDef, CodecError> {
    match def.layouts.is_empty() {
        true => Err(CodecError::Undecodable("a definition without a layout".into())),
        false => Ok(def),
    }
}

/// Until there were layouts attributes did not change: rows of every schema version are alike.
fn only_layout() -> Vec<Layout> {
    vec![Layout { since: SchemaVersion::FIRST, record: 1 }]
}

/// A definition of the second format.
#[derive(Deserialize)]
struct SecondTable {
    id: TableId,
    #[serde(deserialize_with = "crate::codec::text")]
    name: String,
    version: SchemaVersion,
    kind: Kind,
    attributes: Vec<Attribute>,
    key: Vec<usize>,
    indexes: Vec<IndexDef>,
    copies: Vec<TableCopy>,
    ack: Ack,
    mode: Mode,
    retention: Retention,
    local: bool,
}

impl From<SecondTable> for TableDef {
    fn from(second: SecondTable) -> TableDef {
        let SecondTable {
            id,
            name,
            version,
            kind,
            attributes,
            key,
            indexes,
            copies,
            ack,
            mode,
            retention,
            local,
        } = second;
        let (layouts, cleared, reshaped) = (only_layout(), Timestamp::NEVER, Timestamp::NEVER);
        TableDef {
            id,
            name,
            version,
            kind,
            attributes,
            key,
            indexes,
            copies,
            ack,
            mode,
            retention,
            local,
            duplicates: false,
            layouts,
            cleared,
            reshaped,
            coming: Vec::new(),
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
            duplicates: false,
            layouts: only_layout(),
            cleared: Timestamp::NEVER,
            reshaped: Timestamp::NEVER,
            coming: Vec::new(),
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
    fn definitions_of_the_second_format_are_read() {
        // Aim: as above (and a directory of that format is among the golden ones). Method: what came behind is cut off: no
        // duplicates, one layout since version 1 of record 1, never cleared, never reshaped.
        let wanted = TableDef::builder("t").attribute("k", Type::Int).default("k", 5).build().expect("right");
        let mut bytes = TableDef { version: SchemaVersion(3), ..wanted }.to_bytes();
        assert_eq!(bytes.split_off(bytes.len() - 6), [0, 1, 1, 1, 0, 0]);
        bytes[1] = SECOND;
        let table = TableDef::from_bytes(&bytes).expect("the second format");
        assert_eq!(
            (table.version, table.layout().since, table.layout().record),
            (SchemaVersion(3), SchemaVersion(1), 1)
        );
        assert_eq!(table.attributes[0].default, Some(crate::value::Value::Int(5)));
    }

    #[test]
    fn a_copy_that_is_coming_is_written_where_there_is_one() {
        // Aim: who has none writes what older programs read. Method: a definition with a copy that counts from epoch 7 on, and
        // without; both back from their bytes.
        let node = crate::ids::NodeId(3);
        let def = TableDef::builder("t").attribute("k", Type::Int).copy(node, crate::schema::Storage::Ram);
        let def = def.build().expect("right");
        assert_eq!(def.to_bytes()[1], THIRD);
        let coming = TableDef { coming: vec![(node, 7)], ..def };
        assert_eq!(coming.to_bytes()[1], FOURTH);
        let back = TableDef::from_bytes(&coming.to_bytes()).expect("as it was written");
        assert_eq!(back, coming);
        assert!(back.copy_in(node, 6).is_none() && back.copy_in(node, 7).is_some());
    }

    #[test]
    fn a_later_format_is_named() {
        // Aim: a directory of a later version is refused for what it is. Method: a format number that is not taken yet.
        let error = TableDef::from_bytes(&[0, 9, 1, 2, 3]).expect_err("nobody knows it");
        assert!(error.to_string().contains("format 9"), "{error}");
    }
}
