//! Which keys the benches of single rows choose: one text for ours and for the bare maps (`erlang/peer_ets.erl` says it again).

/// Most records that can be scattered.
pub(crate) const SCATTERED_MAX: u64 = 1 << 20;

/// A scattered order of `0..records`, the same in all these benches (README.md of the peers): a bijection of 20 bits, walked
/// until it is below `records`. Steps of one length would leave the paths to their keys in the caches.
pub(crate) fn scattered(n: u64, records: u64) -> u64 {
    let mut key = mixed(n);
    while key >= records {
        key = mixed(key);
    }
    key
}

/// Shifts and odd factors: each step can be undone.
fn mixed(n: u64) -> u64 {
    let (a, mask) = (n ^ 0x5_A3C7, SCATTERED_MAX - 1);
    let b = ((a ^ (a >> 11)) * 0xB_52A7) & mask;
    let c = ((b ^ (b >> 9)) * 0x6_C8E5) & mask;
    let d = ((c ^ (c >> 10)) * 0x9_3D2B) & mask;
    d ^ (d >> 12)
}

/// 2^20 keys whose ranks follow Zipf's law with theta 0.99: the quantiles of the law, in scattered order. They are read one after
/// another, so that choosing a key costs next to nothing.
pub(crate) fn zipf(records: u64) -> Vec<u32> {
    let mut sum = 0.0;
    let upto: Vec<f64> = (1..=records)
        .map(|rank| {
            sum += (rank as f64).powf(-0.99);
            sum
        })
        .collect();
    let key = |n: u64| {
        let point = (mixed(n) as f64 + 0.5) / SCATTERED_MAX as f64 * sum;
        let rank = upto.partition_point(|upto| *upto < point) as u64;
        scattered(rank.min(records - 1), records) as u32
    };
    (0..SCATTERED_MAX).map(key).collect()
}
