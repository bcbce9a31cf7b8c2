//! Tells the replica what was agreed on.

use std::sync::Arc;

use hypermnesia_replication::register::{Enlisted, Register};
use hypermnesia_replication::{Agreement, Member, SlotTaken};

use crate::core::Core;
use crate::error::{Error, Result};
use crate::peer;

/// Makes those who are enlisted known here, and no longer those who are not.
fn enlist(core: &Arc<Core>, agreed: &Register) -> Result<()> {
    for slot in core.replica.slots().here().iter().filter(|slot| agreed.is_struck(*slot)) {
        core.replica.strike(slot);
        core.peers.remove(slot);
    }
    for (slot, enlisted) in agreed.nodes() {
        let Enlisted { node, name, address, .. } = enlisted.clone();
        let member = Member { node, name, address };
        if node != core.me.node {
            let link = core.peers.add(slot, &member).map_err(|error| elsewhere(core, &error))?;
            link.into_iter().for_each(|link| peer::attend(core, link));
        }
        core.replica.enlist(slot, member).map_err(|error| elsewhere(core, &error))?;
    }
    Ok(())
}

/// Who has another address than before is dialled there. What a member was started with stands against what was agreed on
/// long ago.
fn follow_moves(core: &Core, before: &Register, now: &Register) {
    for (_, one) in now.nodes() {
        let moved = before.enlisted(one.node).is_some_and(|known| known.address != one.address);
        if let Some(link) = core.peers.link(one.node).filter(|_| moved) {
            link.moved(&one.address);
        }
    }
}

fn elsewhere(core: &Core, error: &SlotTaken) -> Error {
    let named: Vec<&str> = core.members().map(|member| member.name.as_str()).collect();
    Error::Config(format!("{error}. Here the members are {}", named.join(", ")))
}

/// Tells the replica what was agreed on, as it comes.
pub(super) async fn follow(core: Arc<Core>) {
    let Some(control) = core.control() else { return };
    let mut register = control.register.subscribe();
    register.mark_changed();
    let mut before = Arc::default();
    while !core.is_closed() && register.changed().await.is_ok() {
        let agreed = Arc::clone(&register.borrow_and_update());
        let own = core.replica.slot();
        let Some((cluster, _)) = agreed.cluster() else { continue };
        if core.founded().is_some_and(|founded| founded != cluster) {
            return core.fail(Error::Config(format!(
                "{} belongs to another cluster of the same name than the control plane that it follows",
                core.name
            )));
        }
        if agreed.is_struck(own) {
            return core.fail(Error::Removed { name: core.name.clone() });
        }
        // A new member reads all that was agreed on before it came, another stay of it under the same name included.
        if agreed.slot_of(core.me.node) != Some(own) && agreed.nodes().all(|(slot, _)| slot != own) {
            continue;
        }
        core.replica.belongs_to(cluster);
        if let Err(error) = enlist(&core, &agreed) {
            return core.fail(error);
        }
        follow_moves(&core, &before, &agreed);
        before = Arc::clone(&agreed);
        if let Some(latest) = agreed.latest() {
            core.membership.lease.on_epoch(latest.number);
        }
        core.event(|core, now, out| core.replica.on_agreed(now, Agreement::of(&agreed), out));
        if !core.membership.lease.is_held() {
            // The next heartbeat would do it; reads wait for it.
            control.ask(&core);
        }
    }
}
