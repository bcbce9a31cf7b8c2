//! A backup into tables: everything that can be known to fail is looked at first; then the sequences are raised, and one
//! table is restored after the other.

use std::sync::Arc;

use hypermnesia_store::backup::BackedUpSequence;
use hypermnesia_store::{NodeId, Storage, TableCopy, TableDef};

use super::chain::Chain;
use super::load::Load;
use super::options::{Action, RestoreMode, RestoreOptions, RestoreSummary, SequenceRestore, TableRestore};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::SCHEMA_DEADLINE_DEFAULT;
use crate::record::check_definition;
use crate::table::DynTable;
use crate::{schema, sequence};

/// What will be done with one table.
struct Step {
    /// As it will be created.
    def: TableDef,
    action: Action,
}

pub(super) fn restore(
    core: &Arc<Core>,
    chain: &Chain,
    options: &RestoreOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<RestoreSummary> {
    core.check_serving()?;
    let steps = plan(core, chain, options)?;
    let sequences = chain.sequences().filter(|_| !options.without_sequences).unwrap_or_default();
    sequence::check_backed_up(core, sequences)?;
    let doing = |step: &&Step| step.action != Action::Skipped;
    if chain.files().len() > 1 {
        // Whether the files are of one history shows only in their rows: before anything is changed.
        steps.iter().filter(doing).try_for_each(|step| chain.each(&step.def.name, |_, _| Ok(())))?;
    }
    let total = steps.iter().filter(doing).map(|step| chain.rows_of(&step.def.name)).sum();
    // Before the rows, so that nobody who sees them is given their numbers.
    let sequences = sequences.iter().map(|sequence| raised(core, sequence)).collect::<Result<_>>()?;
    let mut summary = RestoreSummary { sequences, ..RestoreSummary::default() };
    for step in &steps {
        let before = summary.rows;
        let mut told = |rows: u64| progress(before + rows, total);
        let (restored, bytes) = carry_out(core, chain, step, &mut told)?;
        summary.rows += restored.rows;
        summary.bytes += bytes;
        summary.tables.push(restored);
    }
    progress(total, total);
    Ok(summary)
}

fn raised(core: &Arc<Core>, backed_up: &BackedUpSequence) -> Result<SequenceRestore> {
    let (there, next) = sequence::raise(core, backed_up)?;
    Ok(SequenceRestore { name: backed_up.name.clone(), created: !there, next })
}

fn plan(core: &Arc<Core>, chain: &Chain, options: &RestoreOptions) -> Result<Vec<Step>> {
    let named = options.only.iter().chain(options.modes.iter().map(|(name, _)| name));
    for name in named {
        if chain.last().contents().table(name).is_none() {
            return Err(chain.last().lacks(name));
        }
    }
    chain.tables().iter().map(|table| step(core, &table.def, options)).collect()
}

fn step(core: &Arc<Core>, def: &TableDef, options: &RestoreOptions) -> Result<Step> {
    let mode = options.mode_of(&def.name);
    let there = core.store.table_named(&def.name);
    let action = match (mode, &there) {
        (RestoreMode::Skip, _) => Action::Skipped,
        (_, None) => Action::Created,
        (RestoreMode::Clear, Some(_)) => Action::Cleared,
        (RestoreMode::Keep, Some(_)) => Action::Kept,
        (RestoreMode::Recreate, Some(_)) => Action::Recreated,
    };
    match (action, there) {
        (Action::Cleared | Action::Kept, Some(there)) => {
            check_fits(def, there.def())?;
            core.check_copy(there.def())?;
        }
        (Action::Created | Action::Recreated, _) => {
            let def = placed(core, def, options.storage);
            schema::check(core, &def)?;
            return Ok(Step { def, action });
        }
        _ => {}
    }
    Ok(Step { def: def.clone(), action })
}

/// Whether rows of the backup are rows of the table that is there.
fn check_fits(backed_up: &TableDef, there: &TableDef) -> Result<()> {
    // Versions count changes of indexes too, and say nothing across clusters.
    let wanted = TableDef { version: there.version, ..backed_up.clone() };
    check_definition(&wanted, there).map_err(|mismatch| {
        let reason = format!("{mismatch} (the table that is there against the backup's)");
        Error::RestoreMismatch { table: there.name.clone(), reason }
    })
}

/// The definition as it is created here: with the copies that it had, as far as their members are members here, else with one
/// on every member.
fn placed(core: &Core, def: &TableDef, storage: Option<Storage>) -> TableDef {
    let is_member = |node: NodeId| core.member(node).is_some();
    let everywhere =
        |storage| core.members().map(|member| TableCopy { node: member.node, storage }).collect::<Vec<_>>();
    let kept: Vec<TableCopy> = def.copies.iter().filter(|copy| is_member(copy.node)).copied().collect();
    let had = def.copies.iter().map(|copy| copy.storage).find(|storage| storage.is_on_disc());
    let copies = match storage {
        Some(storage) => everywhere(storage),
        None if kept.is_empty() => everywhere(had.unwrap_or(Storage::Ram)),
        None => kept,
    };
    TableDef { copies, coming: Vec::new(), ..def.clone() }
}

fn carry_out(
    core: &Arc<Core>,
    chain: &Chain,
    step: &Step,
    told: &mut dyn FnMut(u64),
) -> Result<(TableRestore, u64)> {
    let (name, action) = (step.def.name.clone(), step.action);
    if action == Action::Skipped {
        return Ok((TableRestore { name, action, rows: 0, expired: 0 }, 0));
    }
    let stopped = |rows| {
        let table = name.clone();
        move |cause: Error| Error::RestoreStopped { table, rows, cause: Box::new(cause) }
    };
    let table = prepare(core, step).map_err(stopped(0))?;
    let mut load = Load::into(core, &table).map_err(stopped(0))?;
    if action == Action::Cleared {
        load.clear().map_err(stopped(0))?;
    }
    let loaded = load.rows(told, |show| chain.each(&name, show));
    let counts = load.counts();
    loaded.map_err(stopped(counts.rows))?;
    let restored = TableRestore { name, action, rows: counts.rows, expired: counts.expired };
    Ok((restored, counts.bytes))
}

/// The table, there and of the right definition.
fn prepare(core: &Arc<Core>, step: &Step) -> Result<DynTable> {
    let name = &step.def.name;
    if step.action == Action::Recreated {
        schema::drop_table(core, name, SCHEMA_DEADLINE_DEFAULT)?;
    }
    match step.action {
        Action::Created | Action::Recreated => {
            schema::create(core, step.def.clone(), SCHEMA_DEADLINE_DEFAULT)
        }
        _ => DynTable::named(core, name),
    }
}
