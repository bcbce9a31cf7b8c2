//! Puts a [`Status`] together from what the parts of a node know.

use std::sync::Arc;

use hypermnesia_store::work::LockMode;
use hypermnesia_store::{Kind, NodeId, Storage, Table, TableDef, Wait};

use crate::control::Control;
use crate::core::Core;
use crate::limits::WAITS_SHOWN_MAX;
use crate::status::{ControlStatus, InDoubtStatus, MemberStatus, Status, TableStatus, WaitStatus};

pub(crate) fn status(core: &Core) -> Status {
    let now = core.now();
    let replica = core.replica.status(now);
    let ready = core.check_ready().is_ok();
    let name = |node: NodeId| core.member_name(node);
    let mut members: Vec<MemberStatus> =
        replica.members.iter().map(|member| one_member(core, member)).collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    let (system, users): (Vec<_>, Vec<_>) =
        core.store.tables().into_iter().partition(|table| table.def().is_system());
    let mut tables: Vec<_> = users.iter().map(|table| one_table(core, table, ready)).collect();
    let held = |table: &Arc<Table>| table.memory_bytes();
    let memory_bytes = tables.iter().map(|table| table.memory_bytes).sum::<u64>();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    let in_doubt = core.replica.in_doubt(now).into_iter().map(|doubt| InDoubtStatus {
        txid: doubt.txid.to_string(),
        age_ms: doubt.age_ms,
        keys: doubt.keys,
        coordinator: name(doubt.holder),
    });
    // Without any, the oldest that could be taken is taken now.
    let oldest = core.store.oldest_snapshot();
    let oldest_ms = if core.store.snapshots_alive() == 0 { u64::MAX } else { oldest.wall_ms() };
    let (log_bytes, image_bytes) = core.disc.as_ref().map_or((0, 0), |disc| disc.bytes());
    Status {
        node: core.name.clone(),
        cluster: core.cluster.clone(),
        incarnation: core.me.incarnation.0,
        epoch: replica.epoch,
        ready,
        waits_for: (!ready).then(|| core.waits_for()),
        members,
        tables,
        in_doubt: in_doubt.collect(),
        came_back_empty: replica.came_back_empty.iter().map(|table| core.table_name(*table)).collect(),
        copied_bytes: replica.copied_bytes,
        copied_commits: replica.copied_commits,
        locks: core.store.lock_counts(),
        waits: core.store.waits(WAITS_SHOWN_MAX).into_iter().map(|wait| one_wait(core, wait)).collect(),
        snapshots: core.store.snapshots_alive(),
        oldest_snapshot_age_ms: now.wall_ms.saturating_sub(oldest_ms),
        memory_bytes: memory_bytes + system.iter().map(held).sum::<u64>(),
        log_bytes,
        image_bytes,
        continuations: core.continuations.len(),
        control: core.control().map(|part| control(core, part)),
    }
}

fn control(core: &Core, control: &Control) -> ControlStatus {
    let (view, register) = (control.view(), control.register());
    let without = control.without_vote(&view).into_iter().map(|node| core.member_name(node));
    let mut without_vote: Vec<String> = without.collect();
    without_vote.sort();
    let mut voters: Vec<String> = view.voters.into_values().map(|voter| voter.name).collect();
    voters.sort();
    // Twice while one store takes the place of another.
    voters.dedup();
    ControlStatus {
        without_vote,
        cluster_id: register.cluster().map(|(id, _)| format!("{id:032x}")),
        leader: view.leader.map(|(_, voter)| voter.name),
        term: view.term.number,
        lease_ms: core.membership.timing.lease_ms(),
        voters,
        stopped: view.stopped,
    }
}

fn one_member(core: &Core, member: &hypermnesia_replication::MemberStatus) -> MemberStatus {
    let (link, control) = (core.peers.link(member.node), core.control());
    MemberStatus {
        name: member.name.clone(),
        peer_address: link.map_or_else(|| core.peer_address.clone(), |link| link.address()),
        incarnation: member.incarnation.map(|life| life.0),
        connected: member.connected,
        ready: member.ready,
        unacknowledged_bytes: link.map_or(0, |link| link.unacknowledged_bytes()),
        draining: control
            .is_some_and(|control| control.register().enlisted(member.node).is_some_and(|one| one.draining)),
        in_epoch: control.is_none_or(|control| {
            let register = control.register();
            register.latest().is_some_and(|epoch| epoch.members.iter().any(|one| one.node == member.node))
        }),
        votes: control
            .is_some_and(|control| control.view().voters.values().any(|one| one.node == member.node)),
    }
}

fn one_wait(core: &Core, wait: Wait) -> WaitStatus {
    let named = |index| {
        let open = core.store.table(wait.table)?;
        let def = open.def().indexes.iter().find(|def| def.id == index)?;
        Some(def.name.clone())
    };
    WaitStatus {
        txid: wait.txn.to_string(),
        coordinator: core.member_name(wait.txn.node),
        table: core.table_name(wait.table),
        index: wait.index.and_then(named),
        key: wait.key.map(|key| key.to_string()),
        mode: if wait.mode == LockMode::Write { "write" } else { "read" }.to_owned(),
        behind: wait.behind.iter().map(ToString::to_string).collect(),
    }
}

fn one_table(core: &Core, table: &Table, ready: bool) -> TableStatus {
    let def: &TableDef = table.def();
    let kind = match def.kind {
        Kind::Set => "set",
        Kind::OrderedSet => "ordered_set",
        Kind::Bag => "bag",
    };
    let storage = |storage: Storage| match storage {
        Storage::Ram => "ram",
        Storage::Disc => "disc",
        Storage::DiscOnly { .. } => "disc_only",
    };
    let statistics = table.statistics();
    let (listeners, events) = table.listeners();
    TableStatus {
        name: def.name.clone(),
        kind: kind.to_owned(),
        rows: table.len(),
        bytes: table.bytes(),
        memory_bytes: statistics.memory_bytes,
        old_versions: statistics.old_versions,
        deletions: statistics.deletions,
        deadlines: statistics.deadlines,
        index_entries: table.index_entries().map(|(name, entries)| (name.to_owned(), entries)).collect(),
        copies: def
            .copies
            .iter()
            .map(|copy| (core.member_name(copy.node), storage(copy.storage).to_owned()))
            .collect(),
        version: def.version.0,
        loaded: ready || core.is_serving() && core.replica.serves(def.id),
        local: def.local,
        hits: statistics.hits,
        misses: statistics.misses,
        evictions: statistics.evictions,
        expirations: statistics.expirations,
        listeners,
        events,
    }
}
