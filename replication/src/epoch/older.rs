//! What logs of earlier versions say of epochs: every member took part in each, and an opening had no witness but the stages.

use hypermnesia_store::{TableId, Timestamp, TxId, codec};
use serde::Deserialize;

use super::{Epoch, EpochFact, Stage, Standing};
use crate::member::Peer;
use crate::outcome::Outcome;

#[derive(Deserialize)]
struct EarlierEpoch {
    number: u64,
    parent: u64,
    members: Vec<Peer>,
}

#[derive(Deserialize)]
struct EarlierStage {
    epoch: EarlierEpoch,
    stamp: Timestamp,
    decisions: Vec<(TxId, Outcome)>,
    standings: Vec<EarlierStanding>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "who was a good source then is asked anew")]
struct EarlierStanding {
    survivor: bool,
    complete: bool,
    whole: Vec<(TableId, u64)>,
    durable: bool,
    opened: u64,
    last_commit: Timestamp,
}

#[derive(Deserialize)]
struct First {
    staged: Option<EarlierStage>,
    opened: Option<EarlierStage>,
    complete: bool,
    whole: Vec<(TableId, u64)>,
}

/// As the first form, and the epoch that was known from others only.
#[derive(Deserialize)]
struct Second {
    first: First,
    #[expect(dead_code, reason = "who knows an epoch from others has it in the register now")]
    hearsay: u64,
}

/// The first byte of a fact that does not say whose slots it speaks of.
pub(super) const NAMELESS_FORM: u8 = 2;

#[derive(Deserialize)]
struct Nameless {
    staged: Option<Stage>,
    opened: Option<Stage>,
    complete: bool,
    whole: Vec<(TableId, u64)>,
}

/// What follows that byte.
pub(super) fn decode_nameless(bytes: &[u8]) -> Option<EpochFact> {
    let Nameless { staged, opened, complete, whole } = codec::decode(bytes, bytes.len()).ok()?;
    Some(EpochFact { staged, opened, complete, whole, ..EpochFact::default() })
}

/// Either of the first two forms.
pub(super) fn decode(bytes: &[u8]) -> Option<EpochFact> {
    let second = codec::decode::<Second>(bytes, bytes.len()).ok().map(|second| second.first);
    let First { staged, opened, complete, whole } =
        second.or_else(|| codec::decode::<First>(bytes, bytes.len()).ok())?;
    let [staged, opened] = [staged, opened].map(|stage| stage.map(Stage::from));
    Some(EpochFact { staged, opened, complete, whole, ..EpochFact::default() })
}

impl From<EarlierStage> for Stage {
    fn from(earlier: EarlierStage) -> Stage {
        let EarlierStage { epoch: EarlierEpoch { number, parent, members }, stamp, decisions, standings } =
            earlier;
        let epoch = Epoch { number, parent, members: members.into_iter().map(Some).collect() };
        let standings = standings.iter().map(|_| Standing::default()).collect();
        Stage { epoch, stamp, decisions, standings, unserved: Vec::new() }
    }
}
