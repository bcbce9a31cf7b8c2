//! A table's digest in parts. Every key belongs to one leaf, by a hash that is fixed by its definition, so that members of
//! different builds agree; the digest of a leaf covers keys, versions and bodies of its rows, whatever their order, and the
//! digest of the table is the sum of its leaves. So two members find out which of their rows differ without showing them, and
//! who changes a row can keep the digests right without reading the others.

use crate::clock::Timestamp;
use crate::key::Key;
use crate::limits::{LEAF_ROWS_MAX, LEAVES_MAX, LEAVES_MIN};
use crate::row::Body;
use crate::table::Table;
use crate::work::Blocked;

/// In how many leaves a table is divided: a power of two within [`LEAVES_MIN`] and [`LEAVES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafCount(u32);

impl LeafCount {
    /// Of a number from elsewhere; nothing for one that no table is divided in.
    pub fn of(count: u32) -> Option<LeafCount> {
        let fits = count.is_power_of_two() && (LEAVES_MIN..=LEAVES_MAX).contains(&count);
        fits.then_some(LeafCount(count))
    }

    /// For a table with so many rows: four to eight of them in a leaf, more in a table with a million and more.
    pub fn for_rows(rows: u64) -> LeafCount {
        let wanted = (rows / LEAF_ROWS_MAX).clamp(LEAVES_MIN.into(), LEAVES_MAX.into());
        LeafCount((wanted as u32).next_power_of_two())
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// The leaf of a key: the upper bits of its hash, since the lower ones of FNV are the last byte's.
    pub fn leaf(self, key: &Key) -> usize {
        let hash = stirred(fnv(FNV_START, key));
        (hash >> (u64::BITS - self.0.trailing_zeros())) as usize
    }
}

/// The digests of all leaves of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaves {
    count: LeafCount,
    digests: Vec<u64>,
}

impl Leaves {
    /// Those of a table without rows.
    pub fn empty(count: LeafCount) -> Leaves {
        Leaves { count, digests: vec![0; count.0 as usize] }
    }

    /// How many there are.
    pub fn count(&self) -> LeafCount {
        self.count
    }

    /// By leaf.
    pub fn digests(&self) -> &[u64] {
        &self.digests
    }

    /// The digest of the table: as [`Table::digest_with_versions`].
    pub fn whole(&self) -> u64 {
        self.digests.iter().fold(0, |sum, digest| sum.wrapping_add(*digest))
    }

    /// The table has this row now.
    pub fn add(&mut self, key: &Key, body: &Body, at: Timestamp) {
        let digest = &mut self.digests[self.count.leaf(key)];
        *digest = digest.wrapping_add(row_digest(key, body, at.0));
    }

    /// The table no longer has it.
    pub fn remove(&mut self, key: &Key, body: &Body, at: Timestamp) {
        let digest = &mut self.digests[self.count.leaf(key)];
        *digest = digest.wrapping_sub(row_digest(key, body, at.0));
    }
}

/// Some of a table's leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafSet {
    count: LeafCount,
    /// A bit for each, the lowest bit of the first byte first.
    bits: Vec<u8>,
}

impl LeafSet {
    /// None of them.
    pub fn none(count: LeafCount) -> LeafSet {
        LeafSet { count, bits: vec![0; count.0 as usize / 8] }
    }

    /// As it came from elsewhere; nothing where it is not of so many leaves.
    pub fn of_bits(count: LeafCount, bits: Vec<u8>) -> Option<LeafSet> {
        (bits.len() == count.0 as usize / 8).then_some(LeafSet { count, bits })
    }

    /// As it goes elsewhere.
    pub fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// Adds a leaf.
    pub fn insert(&mut self, leaf: usize) {
        self.bits[leaf / 8] |= 1 << (leaf % 8);
    }

    /// Whether a key belongs to one of them.
    pub fn covers(&self, key: &Key) -> bool {
        let leaf = self.count.leaf(key);
        self.bits[leaf / 8] & 1 << (leaf % 8) != 0
    }

    /// How many they are.
    pub fn len(&self) -> u32 {
        self.bits.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Table {
    /// The digests of its leaves. Looks at every row; exact when idle.
    ///
    /// # Errors
    /// [`Blocked::Unreadable`].
    pub fn leaves(&self, count: LeafCount) -> Result<Leaves, Blocked> {
        let mut leaves = Leaves::empty(count);
        self.visit_newest(|key, body, at| leaves.add(key, body, at))?;
        Ok(leaves)
    }

    /// Shows the rows of some leaves, as [`Table::visit_newest`].
    ///
    /// # Errors
    /// As there.
    pub fn visit_leaves(
        &self,
        chosen: &LeafSet,
        mut show: impl FnMut(&Key, &Body, Timestamp),
    ) -> Result<(), Blocked> {
        self.visit_newest(|key, body, at| {
            if chosen.covers(key) {
                show(key, body, at);
            }
        })
    }
}

/// A number for a row, such that sums of them tell tables apart.
pub(crate) fn row_digest(key: &Key, body: &Body, version: u64) -> u64 {
    let mut hash = fnv(FNV_START, &version.to_le_bytes());
    hash = fnv(hash, &(key.len() as u64).to_le_bytes());
    hash = fnv(hash, key);
    for row in body.rows() {
        hash = fnv(hash, &(row.as_bytes().len() as u64).to_le_bytes());
        hash = fnv(hash, row.as_bytes());
    }
    stirred(hash)
}

/// Spreads every bit over all others. FNV's last step is a product, so without this the sum over rows would not see a
/// change in one row that another row undoes: two balances with one amount moved between them.
fn stirred(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: fixed by its definition, so that members of different builds agree.
fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SchemaVersion;
    use crate::row::Row;
    use crate::value::Value;

    fn row(k: i64, v: i64) -> (Key, Body) {
        let key = Key::encode(&[Value::Int(k)]).expect("short");
        let row = Row::encode(SchemaVersion::FIRST, &[Value::Int(k), Value::Int(v)]).expect("short");
        (key, Body::Row(row))
    }

    fn count(rows: u64) -> LeafCount {
        LeafCount::for_rows(rows)
    }

    #[test]
    fn leaves_are_as_many_as_rows_ask_for() {
        // Aim: counts are bounded powers of two with four to eight rows in a leaf, and nothing else is taken from elsewhere.
        // Method: the bounds, and numbers beside them.
        assert_eq!([0, 100, 1_000, 100_000].map(|rows| count(rows).get()), [16, 16, 128, 16_384]);
        assert_eq!([1 << 20, 1 << 40].map(|rows| count(rows).get()), [LEAVES_MAX; 2]);
        assert!([0, 1, 8, 24, LEAVES_MAX + 1, LEAVES_MAX * 2].map(LeafCount::of).iter().all(Option::is_none));
        assert_eq!(
            [16, 1 << 17].map(|count| LeafCount::of(count).map(LeafCount::get)),
            [16, 1 << 17].map(Some)
        );
        assert!(LeafSet::of_bits(count(0), vec![0; 3]).is_none());
    }

    #[test]
    fn the_leaf_of_a_key_is_fixed_for_good() {
        // Aim: members of different versions agree on leaves. Method: leaves and a digest as they were when this was written;
        // a leaf of a coarser count is the one that the finer leaf lies in; keys that are neighbours spread.
        let (fine, coarse) = (count(100_000), count(0));
        let leaves: Vec<usize> = (0..4).map(|k| fine.leaf(&row(k, 0).0)).collect();
        assert_eq!(leaves, [10_615, 7_848, 9_949, 8_646]);
        let (key, body) = row(1, 2);
        assert_eq!(row_digest(&key, &body, 3), 0xc067_899b_2227_d3cc);
        let mut met = LeafSet::none(fine);
        for k in 0..1_000 {
            let (key, _) = row(k, 0);
            assert_eq!(coarse.leaf(&key), fine.leaf(&key) / 1024);
            met.insert(fine.leaf(&key));
        }
        assert!((940..1_000).contains(&met.len()), "{}", met.len());
    }

    #[test]
    fn a_change_shows_in_its_leaf_alone() {
        // Aim: the digest of a leaf covers key, version and body, and nothing of other leaves; what was taken away is as if it
        // had never been there. Method: one row of a thousand changed in each of these, gone, and come back.
        let mut leaves = Leaves::empty(count(1_000));
        (0..1_000).map(|k| row(k, 0)).for_each(|(key, body)| leaves.add(&key, &body, Timestamp(5)));
        let (key, body) = row(7, 0);
        let mut without = leaves.clone();
        without.remove(&key, &body, Timestamp(5));
        let differ = |other: &Leaves| -> Vec<usize> {
            let pairs = leaves.digests().iter().zip(other.digests()).enumerate();
            pairs.filter(|(_, (own, other))| own != other).map(|(leaf, _)| leaf).collect()
        };
        let its = leaves.count().leaf(&key);
        assert_eq!((differ(&without), leaves.whole() == without.whole()), (vec![its], false));
        for (value, at) in [(1, 5), (0, 6)] {
            let mut with = without.clone();
            with.add(&key, &row(7, value).1, Timestamp(at));
            assert_eq!((differ(&with), leaves.whole() == with.whole()), (vec![its], false));
        }
        without.add(&key, &body, Timestamp(5));
        assert_eq!((&without, without.whole()), (&leaves, leaves.whole()));
    }
}
