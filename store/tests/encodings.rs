//! Properties of the two encodings: keys sort as values do, rows give back what went in, and bytes from outside are
//! refused or understood but never believed. Method: random values drawn towards the borders where encodings break.

use std::collections::BTreeMap;
use std::sync::Arc;

use hypermnesia_store::limits::{KEY_BYTES_MAX, ROW_BYTES_MAX, VALUE_DEPTH_MAX};
use hypermnesia_store::{Key, KeyRange, Row, SchemaVersion, Value, ValueError, codec};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// Whole numbers close to powers of two, where floats stop being exact and widths change.
fn whole() -> impl Strategy<Value = Value> {
    let near = (0_u32..=64, -3_i128..=3, any::<bool>()).prop_map(|(power, off, negative)| {
        let n = (1_i128 << power) + off;
        let n = if negative { -n } else { n };
        i64::try_from(n)
            .map(Value::Int)
            .or_else(|_| u64::try_from(n).map(Value::Uint))
            .unwrap_or(Value::Int(0))
    });
    prop_oneof![
        near,
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::Uint),
        (-3_i64..3).prop_map(Value::Int)
    ]
}

fn float() -> impl Strategy<Value = Value> {
    let near_whole = whole().prop_map(|n| match n {
        Value::Int(n) => n as f64,
        Value::Uint(n) => n as f64,
        _ => 0.0,
    });
    let beside = (near_whole, 0..3).prop_map(|(x, side)| match side {
        0 => x,
        1 => x.next_up(),
        _ => x.next_down(),
    });
    let special = prop::sample::select(vec![
        0.0,
        -0.0,
        f64::NAN,
        -f64::NAN,
        f64::from_bits(0x7ff0_0000_0000_0001),
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN,
        f64::MAX,
        f64::from_bits(1),
        -f64::from_bits(1),
        f64::MIN_POSITIVE,
        0.5,
        -0.5,
    ]);
    prop_oneof![beside, special, any::<u64>().prop_map(f64::from_bits)].prop_map(Value::Float)
}

fn text() -> impl Strategy<Value = Value> {
    let letters =
        prop::sample::select(vec!['\0', '\u{1}', 'a', 'b', '\u{7f}', 'é', '\u{ffff}', '\u{10ffff}']);
    vec(letters, 0..6).prop_map(|letters| Value::Text(letters.into_iter().collect()))
}

fn bytes() -> impl Strategy<Value = Value> {
    vec(prop::sample::select(vec![0, 1, 2, 0x10, 0x7f, 0xfe, 0xff]), 0..6).prop_map(Value::Bytes)
}

fn value() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        4 => whole(),
        4 => float(),
        3 => text(),
        2 => bytes(),
        1 => prop_oneof![any::<i64>(), -2_i64..2].prop_map(Value::Timestamp),
    ];
    plain.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::List),
            btree_map(inner.clone(), inner, 0..3).prop_map(Value::Map),
        ]
    })
}

fn key(values: &[Value]) -> Key {
    Key::encode(values).expect("small values fit a key")
}

fn row(values: &[Value]) -> Row {
    Row::encode(SchemaVersion(3), values).expect("small values fit a row")
}

/// The bits too, where Eq is wider: -0.0 must come back as 0.0, and a Uint that fits as an Int.
fn canonical(value: &Value) -> bool {
    match value {
        Value::Float(x) => {
            !(*x == 0.0 && x.is_sign_negative()) && (!x.is_nan() || x.to_bits() == f64::NAN.to_bits())
        }
        Value::Uint(n) => i64::try_from(*n).is_err(),
        Value::List(items) => items.iter().all(canonical),
        Value::Map(pairs) => pairs.iter().all(|(k, v)| canonical(k) && canonical(v)),
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn one_value_sorts_as_its_key(a in value(), b in value()) {
        // Aim: memcmp of keys is the order of values. Method: pairs of random values.
        prop_assert_eq!(key(std::slice::from_ref(&a)).cmp(&key(std::slice::from_ref(&b))), a.cmp(&b), "{} and {}", a, b);
    }

    #[test]
    fn numbers_sort_as_their_keys(a in prop_oneof![whole(), float()], b in prop_oneof![whole(), float()]) {
        // Aim: whole numbers and floats share one exact order. Method: pairs around powers of two.
        prop_assert_eq!(key(std::slice::from_ref(&a)).cmp(&key(std::slice::from_ref(&b))), a.cmp(&b), "{} and {}", a, b);
    }

    #[test]
    fn composites_sort_value_by_value(a in vec(value(), 0..4), b in vec(value(), 0..4)) {
        // Aim: no value runs into the next one. Method: lists of values against slice order.
        prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
    }

    #[test]
    fn a_row_with_other_values_is_the_row_of_those_values(
        values in vec(value(), 1..6),
        new in vec((0..6_usize, value()), 0..3),
        deadline in proptest::option::of(any::<u64>()),
    ) {
        // Aim: changing some values of a row gives the one encoding of the whole. Method: against encoding it anew.
        let row = Row::encode(SchemaVersion(3), &values).expect("small").with_deadline(deadline).expect("small");
        let mut changes: Vec<(usize, Value)> = Vec::new();
        for (position, value) in new {
            if position < values.len() && changes.iter().all(|(known, _)| *known != position) {
                changes.push((position, value));
            }
        }
        let mut wanted = values;
        changes.iter().for_each(|(position, value)| wanted[*position] = value.clone());
        let borrowed: Vec<_> = changes.iter().map(|(position, value)| (*position, value.as_ref())).collect();
        let wanted = Row::encode(SchemaVersion(3), &wanted).expect("small").with_deadline(deadline).expect("small");
        prop_assert_eq!(row.replacing(&borrowed).expect("small"), wanted);
    }

    #[test]
    fn keys_give_back_their_values(values in vec(value(), 0..4)) {
        // Aim: decode is the inverse of encode, in stored form; splitting finds the borders. Method: round trip.
        let encoded = key(&values);
        let decoded = encoded.decode().expect("own bytes decode");
        prop_assert!(decoded.iter().all(canonical));
        prop_assert_eq!(&decoded, &values);
        for count in 0..=values.len() {
            let (first, rest) = encoded.split_after(count).expect("that many values are there");
            let joined = Key::from_encoded(first).join(&Key::from_encoded(rest));
            prop_assert!(first == key(&values[..count]).as_bytes());
            prop_assert_eq!(&joined, &encoded);
        }
        prop_assert!(encoded.split_after(values.len() + 1).is_err());
    }

    #[test]
    fn a_prefix_range_holds_its_prefix_and_nothing_else(first in vec(value(), 0..3), other in vec(value(), 0..4)) {
        // Aim: ranges by prefix are exact. Method: any key against the definition on values.
        let range = Key::prefix_range(&first).expect("small");
        prop_assert_eq!(range.contains(&key(&other)), other.starts_with(&first));
    }

    #[test]
    fn a_text_prefix_range_is_starts_with(prefix in text(), candidate in value()) {
        // Aim: LIKE 'x%' by range equals LIKE 'x%' by looking. Method: any value against starts_with.
        let Value::Text(prefix) = prefix else { unreachable!() };
        let range = KeyRange::text_prefix([], &prefix).expect("small");
        let wanted = matches!(&candidate, Value::Text(s) if s.starts_with(&prefix));
        prop_assert_eq!(range.contains(&key(&[candidate])), wanted);
    }

    #[test]
    fn ranges_intersect_when_a_key_lies_in_both(
        [a, b, c, d] in prop::array::uniform4(0_i64..8), kinds in prop::array::uniform4(0..3)
    ) {
        // Aim: a note and a write are never taken for apart when they meet. Method: every key of a small world.
        let bound = |n: i64, kind| match kind {
            0 => std::ops::Bound::Included(key(&[Value::Int(n)])),
            1 => std::ops::Bound::Excluded(key(&[Value::Int(n)])),
            _ => std::ops::Bound::Unbounded,
        };
        let one = KeyRange { start: bound(a, kinds[0]), end: bound(b, kinds[1]) };
        let two = KeyRange { start: bound(c, kinds[2]), end: bound(d, kinds[3]) };
        let between = (-2..=20).map(|half| Value::Float(f64::from(half) / 2.0));
        let mut world = between.chain((0..8).map(Value::Int)).map(|value| key(&[value]));
        let meet = world.any(|k| one.contains(&k) && two.contains(&k));
        if meet { prop_assert!(one.intersects(&two) && two.intersects(&one)); }
        prop_assert_eq!(one.intersects(&two), two.intersects(&one));
        prop_assert!(!one.is_empty() || !meet);
    }

    #[test]
    fn key_bytes_from_outside_never_panic(bytes in vec(prop::sample::select(vec![0, 1, 2, 0x10, 0x20, 0x21, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0xbf, 0xff]), 0..40)) {
        // Aim: decode refuses or understands; what it understands is what encode makes. Method: random bytes and tags.
        let taken = Key::from_encoded(&bytes);
        if let Ok(values) = taken.decode() {
            prop_assert_eq!(key(&values), taken);
        }
    }

    #[test]
    fn rows_give_back_their_values(values in vec(value(), 0..8)) {
        // Aim: encode and attribute are inverse; parse accepts what encode makes. Method: round trip.
        let encoded = row(&values);
        prop_assert_eq!(encoded.len(), values.len());
        prop_assert_eq!(encoded.version(), SchemaVersion(3));
        for (position, value) in values.iter().enumerate() {
            prop_assert_eq!(encoded.attribute(position), value.as_ref());
        }
        prop_assert!(encoded.attribute(values.len()).is_null());
        let again = encoded.to_values();
        prop_assert!(again.iter().all(canonical));
        // Keys encode the same from borrowed row bytes as from owned values.
        prop_assert_eq!(Key::encode_refs(encoded.iter()).expect("small"), key(&values));
        prop_assert_eq!(Row::parse(encoded.as_bytes()).expect("own bytes parse"), encoded);
    }

    #[test]
    fn equal_rows_are_equal_bytes(values in vec(value(), 0..5), others in vec(value(), 0..5)) {
        // Aim: replicas compare rows by bytes. Method: rows are equal exactly when their values are.
        prop_assert_eq!(row(&values) == row(&others), values == others);
    }

    #[test]
    fn mutated_rows_are_refused_or_whole(values in vec(value(), 0..5), edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in 0_usize..4) {
        // Aim: no byte flip panics, and what still parses is canonical. Method: edit and cut good rows, read all of it.
        let mut bytes = row(&values).as_bytes().to_vec();
        for (at, byte) in edits { let at = at.index(bytes.len()); bytes[at] = byte; }
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        if let Ok(parsed) = Row::parse(bytes.as_slice()) {
            let again = Row::encode(parsed.version(), &parsed.to_values()).expect("it was a row");
            prop_assert_eq!(again.as_bytes(), bytes.as_slice());
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_panic(bytes in vec(any::<u8>(), 0..64), count in 0_u8..4) {
        // Aim: as above, from nothing. Method: random bytes behind a plausible header.
        let mut plausible = vec![1, 1, 0, 0, 0, count, 0];
        plausible.extend_from_slice(&bytes);
        for candidate in [&bytes, &plausible] {
            if let Ok(parsed) = Row::parse(candidate.as_slice()) { parsed.to_values(); }
        }
    }

    #[test]
    fn values_travel_through_the_codec(v in value(), junk in vec(any::<u8>(), 0..40)) {
        // Aim: a value in a message comes back; junk in its place is refused without panic. Method: round trip and junk.
        let sent = codec::encode(&v);
        prop_assert_eq!(codec::decode::<Value>(&sent, 1 << 20).expect("own bytes decode"), v);
        let _ = codec::decode::<Value>(&junk, 1 << 20);
        let _ = codec::decode::<Vec<(Key, Row)>>(&junk, 1 << 20);
    }
}

/// A list in a list, `depth` levels in all.
fn nested(depth: usize) -> Value {
    (1..depth).fold(Value::Int(1), |inner, _| Value::List(vec![inner]))
}

#[test]
fn depth_is_bounded_on_every_way_in() {
    // Aim: no way in recurses past the limit. Method: the deepest allowed value and one level more, both encodings, and
    // bytes built by hand that claim a thousand levels.
    let (deepest, too_deep) = (nested(VALUE_DEPTH_MAX), nested(VALUE_DEPTH_MAX + 1));
    let encoded = key(std::slice::from_ref(&deepest));
    assert_eq!(encoded.decode().expect("allowed"), std::slice::from_ref(&deepest));
    assert_eq!(encoded.split_after(1).expect("allowed").1, b"");
    assert_eq!(row(std::slice::from_ref(&deepest)).attribute(0), deepest.as_ref());
    assert_eq!(Key::encode(std::slice::from_ref(&too_deep)), Err(ValueError::TooDeep));
    assert_eq!(Row::encode(SchemaVersion(1), &[too_deep]), Err(ValueError::TooDeep));

    assert!(Key::from_encoded(&[0x70; 1000]).decode().is_err());
    assert!(Key::from_encoded(&[0x70; 1000]).split_after(1).is_err());
    let mut inner = vec![3, 1];
    for _ in 0..1000 {
        let mut outer = vec![9, 1, 0, 0, 0];
        outer.extend_from_slice(&(inner.len() as u32).to_le_bytes());
        outer.extend_from_slice(&inner);
        inner = outer;
    }
    let mut bytes = vec![1, 1, 0, 0, 0, 1, 0];
    bytes.extend_from_slice(&(inner.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&inner);
    assert_eq!(Row::parse(bytes.as_slice()).expect_err("too deep").why, "nested too deeply");
}

#[test]
fn sizes_are_bounded() {
    // Aim: too large is a typed refusal, the largest allowed passes. Method: both sides of each limit.
    let text = |len: usize| Value::Text("x".repeat(len));
    // Tag and end of a text take three bytes.
    assert_eq!(key(&[text(KEY_BYTES_MAX - 3)]).len(), KEY_BYTES_MAX);
    assert_eq!(Key::encode(&[text(KEY_BYTES_MAX - 2)]), Err(ValueError::KeyTooLarge));
    assert_eq!(Key::encode(&vec![Value::Int(1); KEY_BYTES_MAX]), Err(ValueError::KeyTooLarge));
    assert_eq!(Key::encode(&[Value::List(vec![Value::Null; KEY_BYTES_MAX])]), Err(ValueError::KeyTooLarge));
    // Header 7, one wide end 4, tag 1.
    assert_eq!(row(&[text(ROW_BYTES_MAX - 12)]).as_bytes().len(), ROW_BYTES_MAX);
    let refused = Row::encode(SchemaVersion(1), &[text(ROW_BYTES_MAX - 11)]);
    assert_eq!(refused, Err(ValueError::RowTooLarge { bytes: ROW_BYTES_MAX + 1 }));
    assert_eq!(
        Row::encode(SchemaVersion(1), &vec![Value::Null; 1025]),
        Err(ValueError::TooManyAttributes { count: 1025 })
    );
}

#[test]
fn wide_rows_read_like_narrow_ones() {
    // Aim: the change of format at 65,535 bytes of values is invisible. Method: sizes around it, with neighbours.
    for len in [65_530, 65_531, 65_532, 65_533, 65_534, 65_535, 65_536, 200_000] {
        let values = [Value::Int(1), Value::Bytes(vec![7; len]), Value::Null, Value::from("end")];
        let encoded = row(&values);
        assert_eq!(encoded.to_values(), values);
        assert_eq!(Row::parse(encoded.as_bytes()).expect("own bytes parse"), encoded);
    }
}

#[test]
fn a_key_is_three_words() {
    // Aim: keys of numbers and short texts need no allocation. Method: sizes, and where the bytes are.
    assert_eq!(size_of::<Key>(), 24);
    assert_eq!(size_of::<Option<Key>>(), 24);
    assert_eq!(key(&[Value::Int(1), Value::Int(2)]).heap_bytes(), 0);
    assert_eq!(key(&[Value::from("nineteen characters")]).heap_bytes(), 0);
    assert_ne!(key(&[Value::from("twenty characters ..")]).heap_bytes(), 0);
}

#[test]
fn golden_key_bytes() {
    // Aim: keys on disc and between versions stay what they are. Method: bytes written down by hand from the format.
    let golden: [(Value, &[u8]); 14] = [
        (Value::Null, &[0x10]),
        (Value::Bool(true), &[0x21]),
        (Value::Int(0), &[0x30, 0x80, 0, 0, 0, 0, 0, 0, 0, 0]),
        (Value::Int(1), &[0x30, 0xbf, 0xf0, 0, 0, 0, 0, 0, 0, 0]),
        (Value::Float(1.0), &[0x30, 0xbf, 0xf0, 0, 0, 0, 0, 0, 0, 1]),
        (Value::Int(-1), &[0x30, 0x40, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]),
        (Value::Int((1 << 53) + 1), &[0x30, 0xc3, 0x40, 0, 0, 0, 0, 0, 0, 2, 0, 1]),
        (Value::Uint(u64::MAX), &[0x30, 0xc3, 0xef, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0x07, 0xff]),
        (Value::from("a\0b"), &[0x40, b'a', 0, 0xff, b'b', 0, 1]),
        (Value::Bytes(vec![0xff]), &[0x50, 0xff, 0, 1]),
        (Value::Timestamp(-1), &[0x60, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (Value::List(vec![Value::Null]), &[0x70, 0x10, 0]),
        (Value::Map(BTreeMap::from([(Value::Null, Value::Bool(false))])), &[0x80, 0x10, 0x20, 0]),
        (Value::Float(f64::NAN), &[0x30, 0xff, 0xf8, 0, 0, 0, 0, 0, 0, 1]),
    ];
    for (value, bytes) in golden {
        assert_eq!(key(std::slice::from_ref(&value)).as_bytes(), bytes, "{value}");
        assert_eq!(Key::from_encoded(bytes).decode().expect("golden"), [value]);
    }
}

#[test]
fn golden_row_bytes() {
    // Aim: rows on disc and between versions stay what they are. Method: bytes written down by hand from the format.
    let values = [
        Value::Null,
        Value::Bool(true),
        Value::Int(-2),
        Value::Int(300),
        Value::Uint(u64::MAX),
        Value::Float(1.0),
        Value::from("hi"),
        Value::Bytes(vec![9]),
        Value::Timestamp(1),
        Value::List(vec![Value::Null, Value::Int(1)]),
        Value::Map(BTreeMap::from([(Value::Int(1), Value::Null)])),
    ];
    #[rustfmt::skip]
    let golden: Vec<u8> = [
        &[1, 3, 0, 0, 0, 11, 0][..],
        &[0, 0, 1, 0, 3, 0, 6, 0, 15, 0, 24, 0, 27, 0, 29, 0, 38, 0, 53, 0, 68, 0],
        &[2],
        &[3, 0xfe],
        &[3, 0x2c, 0x01],
        &[4, 255, 255, 255, 255, 255, 255, 255, 255],
        &[5, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
        &[6, b'h', b'i'],
        &[7, 9],
        &[8, 1, 0, 0, 0, 0, 0, 0, 0],
        &[9, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 1],
        &[10, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(row(&values).as_bytes(), golden);
    assert_eq!(Row::parse(Arc::<[u8]>::from(golden)).expect("golden").to_values(), values);
}

#[test]
fn golden_bytes_of_a_row_with_a_deadline() {
    // Aim: deadlines on disc stay what they are; they change no value and compare apart. Method: bytes by hand, cuts.
    let plain = row(&[Value::Int(7), Value::from("x")]);
    let timed = plain.with_deadline(Some(0x0102_0304)).expect("small");
    let golden =
        [&[0x11, 3, 0, 0, 0, 2, 0, 2, 0, 4, 0, 3, 7, 6, b'x'][..], &[4, 3, 2, 1, 0, 0, 0, 0]].concat();
    assert_eq!(timed.as_bytes(), golden);
    assert_eq!(Row::parse(golden.clone()).expect("golden"), timed);
    assert_eq!((timed.deadline_ms(), plain.deadline_ms()), (Some(0x0102_0304), None));
    assert_eq!(timed.to_values(), plain.to_values());
    assert!(timed != plain && timed.same_values(&plain) && plain.same_values(&timed));
    assert_eq!(timed.with_deadline(None).expect("small"), plain);
    let at = |ms| hypermnesia_store::Timestamp::from_wall_ms(ms);
    assert!(
        timed.is_expired(at(0x0102_0304))
            && !timed.is_expired(at(0x0102_0303))
            && !plain.is_expired(at(u64::MAX))
    );
    for cut in 0..golden.len() {
        assert!(Row::parse(&golden[..cut]).is_err(), "cut at {cut}");
    }
    assert!(Row::parse([&[0x21][..], &golden[1..]].concat()).is_err(), "an unknown bit");
}

#[test]
fn golden_envelope_and_message_bytes() {
    // Aim: files and handshakes of this version stay readable. Method: bytes written down, then each kind of damage.
    let payload = codec::encode(&(7_u32, "seven", Some(key(&[Value::Bool(true)]))));
    assert_eq!(payload, [7, 5, b's', b'e', b'v', b'e', b'n', 1, 1, 0x21]);
    let sealed = codec::seal(0x0102, 1, &payload);
    assert_eq!(sealed[..10], [b'H', b'm', 2, 1, 1, 0, 10, 0, 0, 0]);
    assert_eq!(codec::open(0x0102, &sealed), Ok((1, payload.as_slice())));

    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 0x40;
        assert!(codec::open(0x0102, &changed).is_err(), "byte {at} changed unnoticed");
        assert!(codec::open(0x0102, &sealed[..at]).is_err(), "cut at {at} unnoticed");
    }
    assert_eq!(codec::open(9, &sealed), Err(codec::CodecError::WrongKind { found: 0x0102, wanted: 9 }));
}

#[test]
fn the_codec_refuses_what_is_too_long_or_goes_on() {
    // Aim: every byte is accounted for, and a length that lies costs no memory. Method: one byte more; a huge length.
    let mut bytes = codec::encode(&5_u64);
    bytes.push(0);
    assert_eq!(codec::decode::<u64>(&bytes, 100), Err(codec::CodecError::Trailing(1)));
    assert_eq!(codec::decode::<u64>(&bytes, 1), Err(codec::CodecError::TooLong { bytes: 2, limit: 1 }));
    // 0xfc announces four bytes of length: 4 GiB of text in seven bytes.
    let lying = [0xfc, 0xff, 0xff, 0xff, 0xff, 1, 2];
    assert!(codec::decode::<String>(&lying, 100).is_err());
    assert!(codec::decode::<Row>(&lying, 100).is_err());
    assert!(codec::decode::<Vec<Row>>(&lying, 100).is_err());
}

#[test]
fn every_broken_rule_of_a_row_is_named() {
    // Aim: no second encoding of a row gets in, and the error says which rule. Method: one broken rule at a time.
    let one = |value: &[u8]| [&[1, 1, 0, 0, 0, 1, 0, value.len() as u8, 0][..], value].concat();
    let float = |x: f64| one(&[&[5][..], &x.to_bits().to_le_bytes()].concat());
    let map = |pairs: &[u8]| one(&[&[10, 2, 0, 0, 0][..], pairs].concat());
    for (bytes, why) in [
        (vec![1, 1, 0], "shorter than its header"),
        (vec![3, 1, 0, 0, 0, 0, 0], "unknown format"),
        (vec![2, 1, 0, 0, 0, 0, 0], "not the format for its size"),
        (vec![1, 1, 0, 0, 0, 255, 255], "more attributes than a row may have"),
        (vec![1, 1, 0, 0, 0, 1, 0], "shorter than the ends of its attributes"),
        (vec![1, 1, 0, 0, 0, 1, 0, 1, 0], "end of an attribute out of order"),
        (vec![1, 1, 0, 0, 0, 2, 0, 1, 0, 0, 0, 1], "end of an attribute out of order"),
        (vec![1, 1, 0, 0, 0, 0, 0, 1], "bytes behind the last attribute"),
        (one(&[11]), "unknown tag"),
        (one(&[0]), "unknown tag"),
        (one(&[1, 1]), "bytes behind a bool"),
        (one(&[3]), "int of a wrong length"),
        (one(&[3, 1, 2, 3]), "int of a wrong length"),
        (one(&[3, 127, 0]), "int longer than it needs to be"),
        (one(&[3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), "int longer than it needs to be"),
        (one(&[4, 1, 0, 0, 0, 0, 0, 0, 0]), "uint that is an int"),
        (one(&[8, 1]), "number of a wrong length"),
        (float(-0.0), "float in a form that is not stored"),
        (float(-f64::NAN), "float in a form that is not stored"),
        (one(&[6, 0xc3]), "text that is not UTF-8"),
        (one(&[9, 1]), "list or map without a count"),
        (one(&[9, 1, 0, 0, 0]), "fewer elements than counted"),
        (one(&[9, 1, 0, 0, 0, 2, 0, 0, 0, 3]), "element longer than what holds it"),
        (one(&[9, 1, 0, 0, 0, 2, 0, 0, 0, 6, 0xff]), "text that is not UTF-8"),
        (one(&[9, 0, 0, 0, 0, 1]), "bytes behind the last element"),
        (map(&[1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0]), "keys of a map out of order"),
        (map(&[1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]), "keys of a map out of order"),
    ] {
        assert_eq!(Row::parse(bytes.as_slice()).map_err(|wrong| wrong.why), Err(why), "{bytes:?}");
    }
}

#[test]
fn every_broken_rule_of_a_key_is_named() {
    // Aim: as for rows. Method: one broken rule at a time; splitting refuses what it cannot walk over.
    let number = |bits: u64, rest: &[u8]| [&[0x30][..], &bits.to_be_bytes(), rest].concat();
    let (one, zero) = (0xbff0_0000_0000_0000, 1 << 63);
    for (bytes, why) in [
        (vec![0x11], "unknown tag"),
        (vec![0x30, 1], "cut off"),
        (number(one, &[3]), "unknown kind of number"),
        (number(one, &[2, 0, 1]), "whole number that is none"),
        (number(one, &[2, 0, 0]), "whole number that is none"),
        (number(zero | 1, &[0]), "whole number that is none"),
        (number(u64::MAX, &[1]), "float in a form that is not stored"),
        (number(!zero, &[1]), "float in a form that is not stored"),
        (number(0xfff0_0000_0000_0000, &[0]), "whole number that is none"),
        (vec![0x40, b'a'], "text or bytes without an end"),
        (vec![0x40, 0, 2], "unknown escape"),
        (vec![0x40, 0xff, 0, 1], "text that is not UTF-8"),
        (vec![0x60, 0, 0], "cut off"),
        (vec![0x70, 0x10], "cut off"),
        (vec![0x80, 0x10, 0], "unknown tag"),
        (vec![0x80, 0x21, 0x10, 0x20, 0x10, 0], "keys of a map out of order"),
        (vec![0x80, 0x20, 0x10, 0x20, 0x10, 0], "keys of a map out of order"),
    ] {
        let refused = Key::from_encoded(&bytes).decode().map_err(|wrong| wrong.why);
        assert_eq!(refused, Err(why), "{bytes:?}");
    }
    for cut in [&[0x30, 1][..], &[0x40, b'a'], &[0x40, 0, 2], &[0x60], &[0x70, 0x10], &[0x11]] {
        assert!(Key::from_encoded(cut).split_after(1).is_err(), "{cut:?}");
    }
}
