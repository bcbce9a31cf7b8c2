//! Backup files as bytes: what goes in comes out, and whatever was cut, changed, moved or mixed is found, with its place.

use std::collections::BTreeMap;

use hypermnesia_store::backup::{
    BackedUpSequence, BackupBase, BackupError, BackupId, BackupReader, BackupWriter, Closing, Contents, Item,
    Opening, Scope, check,
};
use hypermnesia_store::limits::BACKUP_CHUNK_BYTES;
use hypermnesia_store::{Attribute, Key, Kind, Row, TableDef, Timestamp, Type, Value};

fn opening(id: u8) -> Opening {
    Opening {
        id: BackupId([id; 16]),
        position: Timestamp(900),
        base: Some(BackupBase { id: BackupId([2; 16]), position: Timestamp(5) }),
        cluster: "c".into(),
        node: "n1".into(),
        written_ms: 7,
        program: "0.1.0".into(),
    }
}

fn sequences() -> Vec<BackedUpSequence> {
    [("bills", -3), ("invoices", i64::MAX)]
        .map(|(name, next)| BackedUpSequence { name: name.into(), next })
        .into()
}

fn def(name: &str, kind: Kind) -> TableDef {
    let def = TableDef::builder(name).kind(kind).attribute("id", Type::Int).nullable("any", Type::Any);
    def.index("by_any", ["any"]).build().expect("right")
}

fn row(def: &TableDef, id: i64, any: Value) -> Row {
    def.encode_row(&[Value::Int(id), any]).expect("it fits")
}

fn values() -> Vec<Value> {
    vec![
        Value::Null,
        Value::Bool(true),
        Value::Uint(u64::MAX),
        Value::Float(f64::NAN),
        "text\0\u{1f600}".into(),
        Value::Bytes(vec![0, 255]),
        Value::Timestamp(-1),
        Value::List(vec![Value::Int(1), Value::Null]),
        Value::Map(BTreeMap::from([("a".into(), Value::Int(1))])),
    ]
}

/// Two tables, one of them with changes; what was written, in order.
fn small(id: u8) -> (Vec<u8>, Vec<Item>) {
    let mut items = Vec::new();
    let mut writer = BackupWriter::begin(Vec::new(), &opening(id), Some(&sequences())).expect("memory");
    for (def, scope) in [(def("a", Kind::Set), Scope::Full), (def("b", Kind::Bag), Scope::Changes)] {
        writer.table(&def, scope).expect("memory");
        items.push(Item::Table { def: def.clone(), scope });
        for (n, any) in values().into_iter().enumerate() {
            let row = row(&def, n as i64, any).with_deadline((n % 2 == 0).then_some(77)).expect("small");
            writer.row(&row, Timestamp(n as u64)).expect("memory");
            items.push(Item::Row(row, Timestamp(n as u64)));
        }
        if scope == Scope::Changes {
            let key = Key::encode(&[Value::Int(99), "k".into()]).expect("small");
            writer.unchanged(&key, Timestamp(4)).expect("memory");
            items.push(Item::Unchanged(key, Timestamp(4)));
        }
        items.push(Item::TableEnd(writer.end_table().expect("memory")));
    }
    let (bytes, closing, file_bytes) = writer.finish().expect("memory");
    assert_eq!((closing.tables, closing.rows, file_bytes), (2, 18, bytes.len() as u64));
    (bytes, items)
}

fn read(bytes: &[u8]) -> Result<Vec<Item>, BackupError> {
    let mut reader = BackupReader::open(bytes)?;
    let mut items = Vec::new();
    while let Some(item) = reader.next()? {
        items.push(item);
    }
    Ok(items)
}

fn whole(bytes: &[u8]) -> Result<Contents, BackupError> {
    check(bytes, |_| {})
}

/// Where the frames of a file begin, and where it ends.
fn borders(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut borders) = (16, vec![16]);
    while at < bytes.len() {
        at += 9 + u32::from_le_bytes(bytes[at + 1..at + 5].try_into().expect("four")) as usize;
        borders.push(at);
    }
    borders
}

#[test]
fn what_goes_in_comes_out() {
    // Aim: every kind of value, deadlines, timestamps, definitions. Method: written, read item by item, and table by table
    // by its place.
    let (bytes, items) = small(1);
    assert_eq!(read(&bytes).expect("whole"), items);
    let contents = whole(&bytes).expect("whole");
    assert_eq!((&contents.opening, &contents.sequences), (&opening(1), &Some(sequences())));
    assert_eq!(contents.file_bytes, bytes.len() as u64);
    let second = contents.table("b").expect("it is there");
    assert_eq!((second.scope, second.closing.rows, second.closing.unchanged), (Scope::Changes, 9, 1));
    let mut reader = BackupReader::table(&bytes[second.offset as usize..], &contents, second);
    let from = items.iter().position(|item| matches!(item, Item::TableEnd(_))).expect("there is one") + 1;
    for item in &items[from..] {
        assert_eq!(reader.next().expect("whole").as_ref(), Some(item));
    }
    assert_eq!(reader.next(), Ok(None));
}

#[test]
fn an_empty_backup_and_an_empty_table_are_whole() {
    // Aim: nothing is a state too. Method: no table; one without rows.
    let (bytes, ..) =
        BackupWriter::begin(Vec::new(), &opening(1), None).expect("memory").finish().expect("memory");
    assert_eq!(whole(&bytes).expect("whole").closing, Closing { frames: 2, ..Closing::default() });
    let mut writer = BackupWriter::begin(Vec::new(), &opening(1), None).expect("memory");
    writer.table(&def("a", Kind::OrderedSet), Scope::Full).expect("memory");
    writer.end_table().expect("memory");
    let contents = whole(&writer.finish().expect("memory").0).expect("whole");
    assert_eq!((contents.tables.len(), contents.sequences), (1, None));
}

#[test]
fn every_flipped_bit_is_found() {
    // Aim: no changed byte passes. Method: each bit of a file, in both ways of reading.
    let (bytes, _) = small(1);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let error = whole(&changed).expect_err("found");
            assert!(read(&changed).is_err(), "byte {at}");
            match error {
                BackupError::NotABackup { .. } => assert!(at < 8),
                BackupError::Damaged { offset, .. } | BackupError::Truncated { offset, .. } => {
                    let part = borders(&bytes).into_iter().rfind(|border| *border <= at).unwrap_or(0);
                    assert!(offset >= part as u64, "byte {at} is told as {offset}");
                }
                other => panic!("byte {at}: {other}"),
            }
        }
    }
}

#[test]
fn every_cut_is_found() {
    // Aim: half a file is never taken for a whole one. Method: cut at every byte, the borders of parts among them; and
    // something behind the end.
    let (bytes, _) = small(1);
    for end in 0..bytes.len() {
        match whole(&bytes[..end]) {
            Err(BackupError::NotABackup { .. }) => assert_eq!(end, 0),
            Err(BackupError::Truncated { offset, .. }) => assert_eq!(offset, end as u64),
            other => panic!("cut at {end}: {other:?}"),
        }
    }
    for more in [&[0][..], b"HmBackup"] {
        let error = whole(&[&bytes[..], more].concat()).expect_err("found");
        assert_eq!(
            error,
            BackupError::Damaged { offset: bytes.len() as u64, why: "bytes behind its end".into() }
        );
    }
}

#[test]
fn parts_that_moved_or_came_from_elsewhere_are_found() {
    // Aim: every part is right by itself, but not here. Method: each part taken out, doubled, put in the other's place, and
    // replaced by the same part of a backup that differs in its name alone.
    let (bytes, _) = small(1);
    let (other, _) = small(3);
    let borders = borders(&bytes);
    let parts: Vec<_> = borders.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
    let joined = |parts: &[&[u8]]| [&bytes[..16], &parts.concat()].concat();
    assert_eq!(joined(&parts), bytes);
    for n in 0..parts.len() {
        let mut without = parts.clone();
        without.remove(n);
        assert!(whole(&joined(&without)).is_err(), "without part {n}");
        let mut doubled = parts.clone();
        doubled.insert(n, parts[n]);
        assert!(whole(&joined(&doubled)).is_err(), "part {n} twice");
        let mut swapped = parts.clone();
        swapped.swap(n, (n + 1) % parts.len());
        assert!(whole(&joined(&swapped)).is_err(), "part {n} in the place of the next");
        let mut mixed = parts.clone();
        mixed[n] = &other[borders[n]..borders[n + 1]];
        assert!(whole(&joined(&mixed)).is_err(), "part {n} of another backup");
    }
}

#[test]
fn what_is_no_backup_and_what_is_newer_is_told() {
    // Aim: the error says what to do. Method: text, nothing, a later format with a right checksum.
    assert!(matches!(whole(b"id,name\n1,Ghent\n"), Err(BackupError::NotABackup { .. })));
    assert!(matches!(whole(b""), Err(BackupError::NotABackup { .. })));
    let (mut bytes, _) = small(1);
    bytes[8] = 9;
    let sum = crc32fast::hash(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&sum);
    let error = whole(&bytes).expect_err("nobody knows it");
    assert_eq!(error, BackupError::NewerFormat { found: 9 });
    assert!(error.to_string().contains("format 9"), "{error}");
}

#[test]
fn large_rows_have_parts_of_their_own() {
    // Aim: rows longer than a chunk, and many chunks. Method: rows around the size of a chunk, the longest one, many small.
    let def = def("a", Kind::Set);
    let mut writer = BackupWriter::begin(Vec::new(), &opening(1), None).expect("memory");
    writer.table(&def, Scope::Full).expect("memory");
    let sizes =
        [1, BACKUP_CHUNK_BYTES - 40, BACKUP_CHUNK_BYTES, BACKUP_CHUNK_BYTES + 1, 8 * 1024 * 1024 - 100, 3];
    let mut rows: Vec<_> = (0..6).map(|n| row(&def, n, Value::Bytes(vec![7; sizes[n as usize]]))).collect();
    rows.extend((0..20_000).map(|n| row(&def, 10 + n, "some text".into())));
    rows.iter().for_each(|row| writer.row(row, Timestamp(1)).expect("memory"));
    writer.end_table().expect("memory");
    let (bytes, closing, _) = writer.finish().expect("memory");
    assert!(closing.frames > 8, "{closing:?}");
    assert_eq!(whole(&bytes).expect("whole").closing, closing);
    let read = read(&bytes).expect("whole").into_iter().filter_map(|item| match item {
        Item::Row(row, _) => Some(row),
        _ => None,
    });
    assert!(read.eq(rows), "the same rows in the same order");
}

#[test]
fn a_sink_that_is_full_says_so() {
    // Aim: an error of the system is told and nothing is called whole. Method: a sink with room for some bytes.
    struct Small(usize);
    impl std::io::Write for Small {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.0 == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for room in [0, 10, 16, 60, 150] {
        let write = || -> Result<(), BackupError> {
            let mut writer = BackupWriter::begin(Small(room), &opening(1), None)?;
            writer.table(&def("a", Kind::Set), Scope::Full)?;
            writer.end_table()?;
            writer.finish().map(drop)
        };
        assert!(matches!(write(), Err(BackupError::Io { .. })), "{room}");
    }
}

#[test]
fn rows_of_older_definitions_are_adopted() {
    // Aim: rows keep values and deadline under a later layout, with the defaults of what was added, and a misfit is refused.
    // Method: another layout, a missing attribute, a wrong type, one too many.
    let old = def("a", Kind::Set);
    let later = Attribute { name: "later".into(), ty: Type::Int, nullable: false, default: Some(7.into()) };
    let new = old.with_attributes(&[later], 2).expect("it has a default");
    let first = row(&old, 1, "x".into()).with_deadline(Some(9)).expect("small");
    let adopted = new.adopt(&first).expect("it fits");
    assert_eq!((adopted.version(), adopted.deadline_ms()), (new.version, Some(9)));
    assert_eq!(adopted.to_values(), [first.to_values(), vec![7.into()]].concat());
    assert!(old.adopt(&first).expect("it fits").same_allocation(&first));
    let short = Row::encode(old.version, &[Value::Int(1)]).expect("small");
    assert_eq!(old.adopt(&short).expect("null").to_values(), [Value::Int(1), Value::Null]);
    for wrong in [&[Value::from("x"), Value::Null][..], &[Value::Null], &[1.into(), 2.into(), 3.into()]] {
        assert!(old.adopt(&Row::encode(old.version, wrong).expect("small")).is_err(), "{wrong:?}");
    }
}
