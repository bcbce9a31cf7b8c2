//! Whatever bytes come in: rows, keys, values, work, definitions and envelopes are refused or whole, nothing panics, and
//! nothing asks for more memory than the bytes can account for.

use std::collections::BTreeMap;

use hypermnesia_store::backup::{
    self, BackedUpSequence, BackupBase, BackupId, BackupReader, BackupWriter, Opening, Scope,
};
use hypermnesia_store::work::{Op, RangeNote, ReadNote};
use hypermnesia_store::{
    Body, Key, KeyRange, Row, SchemaVersion, TableDef, TableId, Timestamp, Type, Value, Work, Write, codec,
};

#[path = "shared/asked.rs"]
mod asked;
#[path = "shared/mutation.rs"]
mod mutation;

use asked::asked;
use mutation::{Dice, mutated, rounds};

/// Memory that a decoding may ask for, over all its growing: a vector of small things doubles, and a list of a byte each is
/// a value of some words each. A sequence begins with room for a MiB at most, whatever length it claims; work has four.
fn most(bytes: usize) -> usize {
    256 * bytes + 4 * (1024 * 1024 + 1024)
}

/// Feeds changed seeds to a decoder. It returns whether it took them.
fn fuzz(target: u64, seeds: &[Vec<u8>], decode: impl Fn(&[u8]) -> bool) {
    assert!(seeds.iter().all(|seed| decode(seed)), "every seed is right");
    let (mut dice, mut taken, mut all) = (Dice::seeded(target), 0, 0);
    for _ in rounds(20_000) {
        all += 1;
        let bytes = mutated(&mut dice, seeds);
        let (is_taken, asked) = asked(|| decode(&bytes));
        taken += u64::from(is_taken);
        assert!(
            asked.sum <= most(bytes.len()),
            "{} bytes of memory, {} at once, for {} bytes: {bytes:02x?}",
            asked.sum,
            asked.largest,
            bytes.len()
        );
    }
    println!("{taken} of {all} changed inputs were taken");
}

fn values() -> Vec<Value> {
    vec![
        Value::Null,
        Value::Bool(true),
        Value::Int(-300),
        Value::Uint(u64::MAX),
        Value::Float(-0.5),
        Value::from("text\0of some length \u{1f600}"),
        Value::Bytes(vec![0, 255, 1, 0]),
        Value::Timestamp(1_700_000_000_000_000),
        Value::List(vec![Value::Int(1), Value::List(vec![Value::Null, "x".into()])]),
        Value::Map(BTreeMap::from([(Value::from("a"), Value::Int(1)), (Value::Int(2), Value::Bool(false))])),
    ]
}

fn row() -> Row {
    Row::encode(SchemaVersion::FIRST, &values()).expect("small")
}

fn key() -> Key {
    Key::encode(&values()).expect("small")
}

#[test]
fn rows() {
    // Aim: a row that is taken is whole. Method: every attribute and the deadline are read, and it is written again.
    let wide = Row::encode(SchemaVersion::FIRST, &[Value::Bytes(vec![7; 70_000])]).expect("small");
    let timed = row().with_deadline(Some(77)).expect("small");
    let seeds: Vec<_> = [row(), timed, wide].iter().map(|row| row.as_bytes().to_vec()).collect();
    fuzz(1, &seeds, |bytes| {
        let Ok(row) = Row::parse(bytes) else { return false };
        let again = Row::encode(row.version(), &row.to_values())
            .and_then(|again| again.with_deadline(row.deadline_ms()));
        assert_eq!(again.as_ref(), Ok(&row), "one encoding of a row: {bytes:02x?}");
        true
    });
}

#[test]
fn keys() {
    // Aim: bytes that decode as a key are that key. Method: decoded, and encoded again.
    let each = values().into_iter().map(|value| Key::encode(&[value]).expect("small"));
    let seeds: Vec<_> = each.chain([key()]).map(|key| key.as_bytes().to_vec()).collect();
    fuzz(2, &seeds, |bytes| {
        let key = Key::from_encoded(bytes);
        let Ok(values) = key.decode() else { return false };
        let _ = (key.split_after(1), format!("{key}"));
        Key::encode(&values).is_ok()
    });
}

#[test]
fn messages() {
    // Aim: what peers and logs carry. Method: work with everything in it, rows with keys, values.
    let write = |op| Write { table: TableId(3), key: key(), op };
    let work = Work {
        reads: vec![ReadNote { table: TableId(3), key: key(), version: Timestamp(5) }],
        ranges: vec![RangeNote {
            table: TableId(3),
            index: None,
            range: KeyRange::prefix(&key()),
            snapshot: Timestamp(9),
        }],
        writes: vec![
            write(Op::Put(row())),
            write(Op::Delete),
            write(Op::BagAdd(row())),
            write(Op::Expire(Timestamp(1))),
        ],
        schema: vec![(TableId(3), SchemaVersion(2))],
    };
    fuzz(3, &[codec::encode(&work)], |bytes| codec::decode::<Work>(bytes, 1 << 20).is_ok());
    let rows = vec![(key(), Timestamp(1), Some(Body::Row(row()))), (key(), Timestamp(2), None)];
    fuzz(4, &[codec::encode(&rows)], |bytes| {
        codec::decode::<Vec<(Key, Timestamp, Option<Body>)>>(bytes, 1 << 20).is_ok()
    });
    let seeds: Vec<_> = values().iter().map(codec::encode).collect();
    fuzz(5, &seeds, |bytes| codec::decode::<Value>(bytes, 1 << 20).is_ok());
}

#[test]
fn definitions() {
    // Aim: definitions of both formats. Method: one with everything, one of the first format.
    let def = TableDef::builder("t")
        .attribute("k", Type::Int)
        .nullable("tags", Type::List)
        .attribute("n", Type::Int);
    let def = def
        .default("n", 7)
        .multi_index("by_tag", "tags")
        .unique_index("by_n", ["n"])
        .rows_max(5)
        .local()
        .evict();
    let first = vec![
        7, 1, b't', 1, 0, 2, 1, b'k', 2, 0, 1, b'v', 4, 1, 1, 0, 1, 1, 4, b'b', b'y', b'_', b'v', 1, 1, 0, 0,
        1, 0,
    ];
    let seeds = [def.build().expect("right").to_bytes(), first];
    fuzz(6, &seeds, |bytes| TableDef::from_bytes(bytes).is_ok());
}

#[test]
fn backups() {
    // Aim: a backup is refused or whole, and is read in the memory of its parts. Method: a full one and an incremental one;
    // whatever was changed, what is taken is one of them.
    let def =
        TableDef::builder("t").attribute("k", Type::Int).nullable("v", Type::Any).build().expect("right");
    let seeds = [
        backup(&def, None),
        backup(&def, Some(BackupBase { id: BackupId([1; 16]), position: Timestamp(3) })),
    ];
    fuzz(8, &seeds, |bytes| {
        let checked = backup::check(bytes, |_| {});
        let read = BackupReader::open(bytes).and_then(|mut reader| {
            while reader.next()?.is_some() {}
            Ok(())
        });
        assert_eq!(checked.is_ok(), read.is_ok(), "both ways of reading agree: {bytes:02x?}");
        assert!(
            checked.is_err() || seeds.iter().any(|seed| seed == bytes),
            "a changed backup was taken: {bytes:02x?}"
        );
        checked.is_ok()
    });
}

fn backup(def: &TableDef, base: Option<BackupBase>) -> Vec<u8> {
    let opening = Opening {
        id: BackupId([7 + u8::from(base.is_some()); 16]),
        position: Timestamp(9),
        base,
        cluster: "c".into(),
        node: "n1".into(),
        written_ms: 1,
        program: "0".into(),
    };
    let sequences = base.map(|_| vec![BackedUpSequence { name: "s".into(), next: 7 }]);
    let mut writer = BackupWriter::begin(Vec::new(), &opening, sequences.as_deref()).expect("memory");
    writer.table(def, if base.is_some() { Scope::Changes } else { Scope::Full }).expect("memory");
    for n in 0..5_i64 {
        let row = def.encode_row(&[n.into(), values()[n as usize].clone()]).expect("it fits");
        writer.row(&row, Timestamp(n as u64)).expect("memory");
    }
    if base.is_some() {
        writer.unchanged(&key(), Timestamp(2)).expect("memory");
    }
    writer.end_table().expect("memory");
    writer.finish().expect("memory").0
}

#[test]
fn envelopes() {
    // Aim: sealed bytes are opened only as they were sealed. Method: a change anywhere is noticed.
    let sealed = codec::seal(7, 1, &codec::encode(&values()));
    let seeds = [sealed.clone()];
    fuzz(7, &seeds, |bytes| {
        let opened = codec::open(7, bytes).is_ok();
        assert!(!opened || bytes == sealed, "a changed envelope was opened: {bytes:02x?}");
        opened
    });
}
