//! Messages to the engine's values, ranges and definitions, and back. What comes in is checked here once, with the path of
//! the field that is wrong; behind this door nobody sees protobuf.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, UNIX_EPOCH};

use hypermnesia::{
    Ack, Attribute, Key, KeyRange, Kind, Lifetime, NodeId, Retention, Span, Storage, TableBuilder, TableDef,
    Timestamp, TxId, Type, ValueRef,
};

use crate::errors::Error;
use crate::proto::{self, value::Kind as Wire};
use crate::value::Value;

/// The values of a row, a key or a parameter list; `field` is their path.
pub(super) fn values(messages: Vec<proto::Value>, field: &str) -> Result<Vec<hypermnesia::Value>, Error> {
    let values = crate::value::from_messages(messages, field)?;
    let numbered = values.into_iter().enumerate();
    numbered.map(|(n, value)| stored(value, &|| format!("{field}[{n}]"))).collect()
}

/// One value.
pub(super) fn one_value(message: proto::Value, field: &str) -> Result<hypermnesia::Value, Error> {
    let value = values(vec![message], field)?.pop();
    value.ok_or_else(|| Error::invalid(field, "is required"))
}

/// The values of a required row.
pub(super) fn row(row: Option<proto::Row>, field: &str) -> Result<Vec<hypermnesia::Value>, Error> {
    let row = row.ok_or_else(|| Error::invalid(field, "is required"))?;
    values(row.values, &format!("{field}.values"))
}

/// The values of a required key.
pub(super) fn key(key: Option<proto::Key>, field: &str) -> Result<Vec<hypermnesia::Value>, Error> {
    let key = key.ok_or_else(|| Error::invalid(field, "is required"))?;
    values(key.values, &format!("{field}.values"))
}

fn stored(value: Value, path: &dyn Fn() -> String) -> Result<hypermnesia::Value, Error> {
    use hypermnesia::Value as Stored;
    Ok(match value {
        Value::Null => Stored::Null,
        Value::Bool(b) => Stored::Bool(b),
        Value::Int(n) => Stored::Int(n),
        Value::Uint(n) => Stored::from(n),
        Value::Float(x) => Stored::Float(x),
        Value::Text(text) => Stored::Text(text),
        Value::Bytes(bytes) => Stored::Bytes(bytes),
        Value::Timestamp(us) => Stored::Timestamp(us),
        Value::List(items) => {
            Stored::List(items.into_iter().map(|item| stored(item, path)).collect::<Result<_, _>>()?)
        }
        Value::Map(entries) => {
            let mut tree = BTreeMap::new();
            for (key, value) in entries {
                if tree.insert(stored(key, path)?, stored(value, path)?).is_some() {
                    return Err(Error::invalid(path(), "a key of the map is given twice"));
                }
            }
            Stored::Map(tree)
        }
    })
}

/// A stored row as a message.
pub(super) fn row_message(row: &hypermnesia::Row) -> proto::Row {
    proto::Row { values: row.iter().map(value_message).collect() }
}

/// Some attributes of a stored row as a message.
pub(super) fn projected_message(row: &hypermnesia::Row, positions: &[usize]) -> proto::Row {
    proto::Row { values: positions.iter().map(|position| value_message(row.attribute(*position))).collect() }
}

/// A row of plain values as a message.
pub(super) fn values_message(values: &[hypermnesia::Value]) -> proto::Row {
    proto::Row { values: values.iter().map(|value| value_message(value.as_ref())).collect() }
}

fn value_message(value: ValueRef<'_>) -> proto::Value {
    let kind = match value {
        ValueRef::Null => Wire::Null(proto::Null {}),
        ValueRef::Bool(b) => Wire::Bool(b),
        ValueRef::Int(n) => Wire::Int(n),
        ValueRef::Uint(n) => Wire::Uint(n),
        ValueRef::Float(x) => Wire::Float(x),
        ValueRef::Text(text) => Wire::Text(text.to_owned()),
        ValueRef::Bytes(bytes) => Wire::Bytes(bytes.to_vec()),
        ValueRef::Timestamp(us) => Wire::TimestampUs(us),
        ValueRef::List(items) => {
            Wire::List(proto::List { values: items.iter().map(value_message).collect() })
        }
        ValueRef::Map(pairs) => Wire::Map(proto::Map {
            entries: pairs
                .iter()
                .map(|(key, value)| proto::MapEntry {
                    key: Some(value_message(key)),
                    value: Some(value_message(value)),
                })
                .collect(),
        }),
    };
    proto::Value { kind: Some(kind) }
}

/// Keys of a scan, of attributes of these types. A bound with fewer values than the key stands for all keys that begin with
/// them.
fn range(range: Option<proto::Range>, types: &[Type]) -> Result<KeyRange, Error> {
    let encoded = |messages, field: &str| encoded(messages, field, types);
    let Some(range) = range else { return Ok(KeyRange::all()) };
    if let Some(prefix) = range.prefix {
        if range.start.is_some() || range.end.is_some() {
            return Err(Error::invalid("range.prefix", "excludes start and end"));
        }
        return Ok(KeyRange::prefix(&encoded(prefix.values, "range.prefix")?));
    }
    let start = match range.start {
        None => Bound::Unbounded,
        Some(bound) if bound.exclusive => after(encoded(bound.values, "range.start")?),
        Some(bound) => Bound::Included(encoded(bound.values, "range.start")?),
    };
    let end = match range.end {
        None => Bound::Unbounded,
        Some(bound) if bound.exclusive => Bound::Excluded(encoded(bound.values, "range.end")?),
        Some(bound) => KeyRange::prefix(&encoded(bound.values, "range.end")?).end,
    };
    Ok(KeyRange { start, end })
}

/// Where keys begin that neither equal this one nor begin with it.
fn after(key: Key) -> Bound<Key> {
    match KeyRange::prefix(&key).end {
        Bound::Excluded(next) => Bound::Included(next),
        other => other,
    }
}

fn encoded(messages: Vec<proto::Value>, field: &str, types: &[Type]) -> Result<Key, Error> {
    if messages.is_empty() {
        return Err(Error::invalid(field, "needs at least one value"));
    }
    let path = format!("{field}.values");
    let values = values(messages, &path)?;
    let types = types.iter().copied().chain(std::iter::repeat(Type::Any));
    // A whole number stands for the float that an attribute of floats holds. What it cannot hold has its place all the same.
    let stored = types.zip(&values).map(|(ty, value)| ty.admit(value.as_ref()).unwrap_or(value.as_ref()));
    Key::encode_refs(stored).map_err(|error| Error::invalid(path, error))
}

/// The definition of a new table. `members` are the names of those that get a copy when the request names none.
pub(super) fn definition(table: proto::Table, members: &[String]) -> Result<TableBuilder, Error> {
    let kind = match known(table.kind, "table.kind")? {
        proto::TableKind::OrderedSet => Kind::OrderedSet,
        proto::TableKind::Bag => Kind::Bag,
        proto::TableKind::Set | proto::TableKind::Unspecified => Kind::Set,
    };
    let ack = match known(table.acknowledge, "table.acknowledge")? {
        proto::Acknowledge::Memory => Ack::Memory,
        proto::Acknowledge::Synced => Ack::Synced,
        proto::Acknowledge::Logged | proto::Acknowledge::Unspecified => Ack::Logged,
    };
    let everywhere = storage(known(table.storage, "table.storage")?, table.cache_bytes, "table.cache_bytes")?;
    let mut builder = TableDef::builder(table.name).kind(kind).ack(ack);
    let first = table.attributes.first().map(|attribute| attribute.name.clone());
    for (n, attribute) in table.attributes.into_iter().enumerate() {
        let attribute_type = attribute_type(known(attribute.r#type, &format!("table.attributes[{n}].type"))?);
        let name = attribute.name.clone();
        builder = match attribute.nullable {
            true => builder.nullable(attribute.name, attribute_type),
            false => builder.attribute(attribute.name, attribute_type),
        };
        if let Some(default) = attribute.default {
            builder = builder.default(name, one_value(default, &format!("table.attributes[{n}].default"))?);
        }
    }
    let key = if table.key.is_empty() { first.into_iter().collect() } else { table.key };
    builder = builder.key(key);
    for (n, mut index) in table.indexes.into_iter().enumerate() {
        if index.multi && index.attributes.len() != 1 {
            let field = format!("table.indexes[{n}].attributes");
            return Err(Error::invalid(field, "a multi-value index is over one attribute"));
        }
        builder = match (index.multi, index.unique) {
            (true, true) => builder.unique_multi_index(index.name, index.attributes.remove(0)),
            (true, false) => builder.multi_index(index.name, index.attributes.remove(0)),
            (false, true) => builder.unique_index(index.name, index.attributes),
            (false, false) => builder.index(index.name, index.attributes),
        };
    }
    builder = retained(builder, table.retention.unwrap_or_default());
    if table.local {
        builder = builder.local();
    }
    if table.duplicates {
        builder = builder.duplicates();
    }
    if table.copies.is_empty() {
        builder =
            members.iter().fold(builder, |builder, name| builder.copy(NodeId::of_name(name), everywhere));
    }
    for (n, copy) in table.copies.iter().enumerate() {
        let field = || format!("table.copies[{n}]");
        if !members.contains(&copy.member) {
            let there = members.join(", ");
            let message = format!("there is no member {:?}; there are {there}", copy.member);
            return Err(Error::invalid(format!("{}.member", field()), message));
        }
        if table.copies[..n].iter().any(|earlier| earlier.member == copy.member) {
            let message = format!("member {:?} is named twice", copy.member);
            return Err(Error::invalid(format!("{}.member", field()), message));
        }
        let kept = storage_of_copy(copy, &field())?;
        builder = builder.copy(NodeId::of_name(&copy.member), kept);
    }
    Ok(builder)
}

fn retained(mut builder: TableBuilder, retention: proto::Retention) -> TableBuilder {
    let ms = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
    if let Some(ttl) = ms(retention.ttl_ms) {
        builder = builder.ttl(ttl);
    }
    if let Some(idle) = ms(retention.max_idle_ms) {
        builder = builder.max_idle(idle);
    }
    if retention.rows_max > 0 {
        builder = builder.rows_max(retention.rows_max);
    }
    if retention.bytes_max > 0 {
        builder = builder.bytes_max(retention.bytes_max);
    }
    if retention.evict { builder.evict() } else { builder }
}

/// How long a row lives that is put.
pub(super) fn lifetime(lifetime: Option<proto::Lifetime>) -> Lifetime {
    use proto::lifetime::End;
    match lifetime.and_then(|lifetime| lifetime.end) {
        Some(End::TtlMs(ms)) => Lifetime::For(Duration::from_millis(ms)),
        Some(End::UntilMs(ms)) => {
            // Later than any clock will show is for ever.
            let until = UNIX_EPOCH.checked_add(Duration::from_millis(ms));
            until.map_or(Lifetime::Forever, Lifetime::Until)
        }
        Some(End::Forever(true)) => Lifetime::Forever,
        Some(End::Forever(false)) | None => Lifetime::OfTable,
    }
}

/// A number of an enumeration. One that this version does not know is refused: taking it for the default would do something
/// else than was asked.
pub(super) fn known<T: TryFrom<i32>>(number: i32, field: &str) -> Result<T, Error> {
    T::try_from(number).map_err(|_| Error::invalid(field, format!("{number} is not known")))
}

/// An attribute that is added to a table.
pub(super) fn attribute(attribute: proto::Attribute, field: &str) -> Result<Attribute, Error> {
    let ty = attribute_type(known(attribute.r#type, &format!("{field}.type"))?);
    let default = attribute.default.map(|value| one_value(value, &format!("{field}.default"))).transpose()?;
    Ok(Attribute { name: attribute.name, ty, nullable: attribute.nullable, default })
}

/// How a copy is kept, of which `field` is the path.
pub(super) fn storage_of_copy(copy: &proto::Copy, field: &str) -> Result<Storage, Error> {
    let kept = known(copy.storage, &format!("{field}.storage"))?;
    storage(kept, copy.cache_bytes, &format!("{field}.cache_bytes"))
}

/// A storage with its cache, of which `field` is the path.
pub(super) fn storage(storage: proto::Storage, cache_bytes: u64, field: &str) -> Result<Storage, Error> {
    match (storage, cache_bytes) {
        (proto::Storage::DiscOnly, 0) => Ok(Storage::DISC_ONLY),
        (proto::Storage::DiscOnly, cache_bytes) => Ok(Storage::DiscOnly { cache_bytes }),
        (_, 1..) => Err(Error::invalid(field, "only copies that are on disc alone have a cache")),
        (proto::Storage::Disc, 0) => Ok(Storage::Disc),
        (proto::Storage::Ram | proto::Storage::Unspecified, 0) => Ok(Storage::Ram),
    }
}

fn attribute_type(kind: proto::AttributeType) -> Type {
    match kind {
        proto::AttributeType::Unspecified | proto::AttributeType::Any => Type::Any,
        proto::AttributeType::Bool => Type::Bool,
        proto::AttributeType::Int => Type::Int,
        proto::AttributeType::Float => Type::Float,
        proto::AttributeType::Text => Type::Text,
        proto::AttributeType::Bytes => Type::Bytes,
        proto::AttributeType::Timestamp => Type::Timestamp,
        proto::AttributeType::List => Type::List,
        proto::AttributeType::Map => Type::Map,
    }
}

/// A definition as a message; `name_of` tells the names of members.
pub(super) fn table_message(def: &TableDef, name_of: &dyn Fn(NodeId) -> String) -> proto::Table {
    let names =
        |positions: &[usize]| positions.iter().map(|at| def.attributes[*at].name.clone()).collect::<Vec<_>>();
    let index = |index: &hypermnesia::IndexDef| proto::Index {
        name: index.name.clone(),
        attributes: names(&index.attributes),
        unique: index.unique,
        multi: index.multi,
    };
    let copy = |copy: &hypermnesia::TableCopy| proto::Copy {
        member: name_of(copy.node),
        storage: match copy.storage {
            Storage::Ram => proto::Storage::Ram,
            Storage::Disc => proto::Storage::Disc,
            Storage::DiscOnly { .. } => proto::Storage::DiscOnly,
        }
        .into(),
        cache_bytes: copy.storage.cache_bytes().unwrap_or(0),
    };
    proto::Table {
        name: def.name.clone(),
        kind: kind_message(def.kind).into(),
        attributes: def.attributes.iter().map(attribute_message).collect(),
        key: names(&def.key),
        indexes: def.indexes.iter().map(index).collect(),
        copies: def.copies.iter().map(copy).collect(),
        acknowledge: match def.ack {
            Ack::Memory => proto::Acknowledge::Memory,
            Ack::Logged => proto::Acknowledge::Logged,
            Ack::Synced => proto::Acknowledge::Synced,
        }
        .into(),
        storage: proto::Storage::Unspecified.into(),
        id: def.id.0,
        version: def.version.0,
        retention: Some(retention_message(&def.retention)),
        local: def.local,
        duplicates: def.duplicates,
        cache_bytes: 0,
    }
}

fn retention_message(retention: &Retention) -> proto::Retention {
    let Retention { ttl_ms, idle_ms, rows_max, bytes_max, evict } = *retention;
    proto::Retention {
        ttl_ms: ttl_ms.unwrap_or(0),
        max_idle_ms: idle_ms.unwrap_or(0),
        rows_max: rows_max.unwrap_or(0),
        bytes_max: bytes_max.unwrap_or(0),
        evict,
    }
}

fn kind_message(kind: Kind) -> proto::TableKind {
    match kind {
        Kind::Set => proto::TableKind::Set,
        Kind::OrderedSet => proto::TableKind::OrderedSet,
        Kind::Bag => proto::TableKind::Bag,
    }
}

fn attribute_message(attribute: &Attribute) -> proto::Attribute {
    let kind = match attribute.ty {
        Type::Any => proto::AttributeType::Any,
        Type::Bool => proto::AttributeType::Bool,
        Type::Int => proto::AttributeType::Int,
        Type::Float => proto::AttributeType::Float,
        Type::Text => proto::AttributeType::Text,
        Type::Bytes => proto::AttributeType::Bytes,
        Type::Timestamp => proto::AttributeType::Timestamp,
        Type::List => proto::AttributeType::List,
        Type::Map => proto::AttributeType::Map,
    };
    proto::Attribute {
        name: attribute.name.clone(),
        r#type: kind.into(),
        nullable: attribute.nullable,
        default: attribute.default.as_ref().map(|value| value_message(value.as_ref())),
    }
}

/// A transaction's identity as a message.
pub(crate) fn transaction_message(id: TxId) -> proto::TransactionId {
    proto::TransactionId { age: id.age.0, node: id.node.0, sequence: id.sequence }
}

/// A transaction's identity from a message.
pub(super) fn transaction_id(id: proto::TransactionId) -> TxId {
    TxId { age: Timestamp(id.age), node: NodeId(id.node), sequence: id.sequence }
}

/// Which part of a table or an index a scan asks for.
pub(super) fn span(request: &proto::ScanRequest, def: &TableDef) -> Result<Span, Error> {
    let limit = match usize::try_from(request.limit) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(limit) => limit,
    };
    let of = |position: &usize| def.attributes[*position].ty;
    let types: Vec<Type> = match def.index_named(&request.index) {
        // Values of a list are of any type.
        Some(index) if index.multi => std::iter::once(Type::Any).chain(def.key.iter().map(of)).collect(),
        Some(index) => index.attributes.iter().chain(&def.key).map(of).collect(),
        None => def.key.iter().map(of).collect(),
    };
    let span = Span::of(range(request.range.clone(), &types)?).limit(limit);
    let direction: proto::Direction = known(request.direction, "direction")?;
    Ok(if direction == proto::Direction::Descending { span.backward() } else { span })
}
