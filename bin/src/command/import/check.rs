//! What a server would refuse in a row, found before it is sent, so that the error can name its line and column: type, null,
//! and the sizes of key and row. The rules themselves are the store's own.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use hypermnesia::{Kind, TableDef, Type, Value as Stored};
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::{AttributeType, TableDefinition};

use super::super::attributes;

/// A table's rules.
pub(super) struct Rules(TableDef);

/// What a good row has.
pub(super) struct Good {
    /// Its key, encoded.
    pub(super) key: Vec<u8>,
    /// About how many bytes it is in a message.
    pub(super) bytes: usize,
}

impl Rules {
    pub(super) fn of(table: &TableDefinition) -> Result<Rules> {
        let nullable = |name: &str| table.attributes.iter().any(|known| known.name == name && known.nullable);
        // Rows are the same for all kinds, and copies and indexes add no rule that a row alone could break.
        let builder =
            attributes(table).fold(TableDef::builder(&table.name).kind(Kind::Set), |builder, (name, ty)| {
                if nullable(name) {
                    builder.nullable(name, stored_type(ty))
                } else {
                    builder.attribute(name, stored_type(ty))
                }
            });
        Ok(Rules(builder.key(table.key.iter().cloned()).build()?))
    }

    /// Checks a row.
    pub(super) fn check(&self, values: &[Value]) -> Result<Good> {
        let stored: Vec<Stored> = values.iter().map(stored).collect::<Result<_>>()?;
        let row = self.0.encode_row(&stored)?;
        let key = self.0.key_of(&row)?.as_bytes().to_vec();
        Ok(Good { key, bytes: values.iter().map(message_bytes).sum() })
    }
}

fn stored_type(ty: AttributeType) -> Type {
    match ty {
        AttributeType::Unspecified | AttributeType::Any => Type::Any,
        AttributeType::Bool => Type::Bool,
        AttributeType::Int => Type::Int,
        AttributeType::Float => Type::Float,
        AttributeType::Text => Type::Text,
        AttributeType::Bytes => Type::Bytes,
        AttributeType::Timestamp => Type::Timestamp,
        AttributeType::List => Type::List,
        AttributeType::Map => Type::Map,
    }
}

fn stored(value: &Value) -> Result<Stored> {
    Ok(match value {
        Value::Null => Stored::Null,
        Value::Bool(b) => Stored::Bool(*b),
        Value::Int(n) => Stored::Int(*n),
        Value::Uint(n) => Stored::from(*n),
        Value::Float(x) => Stored::Float(*x),
        Value::Text(text) => Stored::Text(text.clone()),
        Value::Bytes(bytes) => Stored::Bytes(bytes.clone()),
        Value::Timestamp(us) => Stored::Timestamp(*us),
        Value::List(items) => Stored::List(items.iter().map(stored).collect::<Result<_>>()?),
        Value::Map(pairs) => {
            let mut tree = BTreeMap::new();
            for (key, value) in pairs {
                if tree.insert(stored(key)?, stored(value)?).is_some() {
                    bail!("the key {key} stands twice in a map");
                }
            }
            Stored::Map(tree)
        }
    })
}

/// Bytes of a value in a message, at most: ten for its number or for its own and its envelope's tag and length.
fn message_bytes(value: &Value) -> usize {
    const ENVELOPE: usize = 12;
    ENVELOPE
        + match value {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(items) => items.iter().map(message_bytes).sum(),
            Value::Map(pairs) => {
                pairs.iter().map(|(key, value)| ENVELOPE + message_bytes(key) + message_bytes(value)).sum()
            }
            _ => 0,
        }
}
