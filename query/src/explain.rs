//! EXPLAIN, SHOW TABLES and DESCRIBE. EXPLAIN prints the plan from the last thing done to the first, one line each; row
//! counts are guesses, marked by `about`.

use hypermnesia_store::{Kind, TableDef, Type, Value};

use crate::access::Access;
use crate::bind::{Aggregate, BoundTable, Scope};
use crate::expression::{Expr, Names};
use crate::plan::path::{columns as path_columns, is_multi};
use crate::plan::{Equal, Path, SelectPlan, Step, Via, plan_select};
use crate::sink::{Column, Sink};
use crate::statement::Stop;
use crate::syntax::{InsertSource, Name, Statement};
use crate::write;

fn text_columns(names: &[&str]) -> Vec<Column> {
    names.iter().map(|name| Column { name: (*name).to_owned(), ty: Type::Text }).collect()
}

pub(crate) fn columns() -> Vec<Column> {
    text_columns(&["plan"])
}

pub(crate) fn show_columns() -> Vec<Column> {
    let mut columns = text_columns(&["name", "kind", "key", "indexes"]);
    columns.push(Column { name: "rows".to_owned(), ty: Type::Int });
    columns
}

pub(crate) fn describe_columns() -> Vec<Column> {
    let mut columns = text_columns(&["column", "type"]);
    columns.push(Column { name: "nullable".to_owned(), ty: Type::Bool });
    columns.extend(text_columns(&["key", "indexes"]));
    columns
}

/// Gives the rows to the sink until it breaks; how many it was given.
fn give(sink: &mut dyn Sink, columns: &[Column], rows: impl Iterator<Item = Vec<Value>>) -> u64 {
    sink.columns(columns);
    let mut given = 0;
    for row in rows {
        given += 1;
        if sink.row(row).is_break() {
            break;
        }
    }
    given
}

pub(crate) fn explain<A: Access>(
    scope: &Scope<'_, A>,
    statement: &Statement,
    sink: &mut dyn Sink,
) -> Result<u64, Stop<A::Error>> {
    let lines = match statement {
        Statement::Select(select) => select_lines(&plan_select(scope, select)?),
        Statement::Insert(insert) => {
            let table = scope.table(&insert.table)?;
            match &insert.source {
                InsertSource::Values(rows) => vec![format!("insert {} rows into {}", rows.len(), table.name)],
                InsertSource::Select(select) => {
                    under(format!("insert into {}", table.name), select_lines(&plan_select(scope, select)?))
                }
            }
        }
        Statement::Update(update) => target_lines("update", &write::plan_update(scope, update)?),
        Statement::Delete(delete) => target_lines("delete from", &write::plan_delete(scope, delete)?),
        _ => Vec::new(),
    };
    Ok(give(sink, &columns(), lines.into_iter().map(|line| vec![Value::Text(line)])))
}

fn under(head: String, lines: Vec<String>) -> Vec<String> {
    std::iter::once(head).chain(lines.into_iter().map(|line| format!("  {line}"))).collect()
}

fn target_lines(head: &str, target: &write::Target) -> Vec<String> {
    let names = Names { tables: &target.tables, slots: Vec::new() };
    under(
        format!("{head} {}", target.tables[0].def.name),
        join_lines(&target.tables, &target.steps, &target.once, &names),
    )
}

fn select_lines(plan: &SelectPlan) -> Vec<String> {
    let rows = Names { tables: &plan.tables, slots: Vec::new() };
    let grouped = Names { tables: &plan.tables, slots: group_names(plan, &rows) };
    let names = if plan.group.is_some() { &grouped } else { &rows };
    let mut heads = Vec::new();
    if plan.limit.is_some() || plan.offset > 0 {
        let limit = plan.limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {limit}"));
        heads.push(if plan.offset > 0 { format!("{limit}, offset {}", plan.offset) } else { limit });
    }
    if !plan.order.is_empty() {
        let keys: Vec<String> = plan.order.iter().map(|key| order_text(key, names)).collect();
        let how = if plan.sorted { "already in order by" } else { "sort by" };
        heads.push(format!("{how} {}", keys.join(", ")));
    }
    if plan.distinct {
        heads.push("distinct".to_owned());
    }
    if let Some(group) = &plan.group {
        if let Some(having) = &group.having {
            heads.push(format!("having {}", having.show(names)));
        }
        heads.push(group_text(plan, &rows));
    }
    let lines = join_lines(&plan.tables, &plan.steps, &plan.once, &rows);
    heads.into_iter().rev().fold(lines, |lines, head| under(head, lines))
}

fn order_text(key: &crate::plan::OrderKey, names: &Names<'_>) -> String {
    let direction = if key.descending { " desc" } else { "" };
    let nulls = match (key.nulls_first, key.descending) {
        (true, true) => " nulls first",
        (false, false) => " nulls last",
        _ => "",
    };
    format!("{}{direction}{nulls}", key.expr.show(names))
}

fn aggregate_text(aggregate: &Aggregate, names: &Names<'_>) -> String {
    let distinct = if aggregate.distinct { "distinct " } else { "" };
    let argument = aggregate.argument.as_ref().map_or_else(|| "*".to_owned(), |e| e.show(names).to_string());
    format!("{}({distinct}{argument})", aggregate.kind.name())
}

fn group_names(plan: &SelectPlan, rows: &Names<'_>) -> Vec<String> {
    let Some(group) = &plan.group else { return Vec::new() };
    let keys = group.keys.iter().map(|key| key.show(rows).to_string());
    keys.chain(group.aggregates.iter().map(|aggregate| aggregate_text(aggregate, rows))).collect()
}

fn group_text(plan: &SelectPlan, rows: &Names<'_>) -> String {
    let names = group_names(plan, rows);
    let Some(group) = &plan.group else { return String::new() };
    let (keys, aggregates) = names.split_at(group.keys.len());
    let first = if group.first_only { ", from the first row in order" } else { "" };
    match (keys.is_empty(), aggregates.is_empty()) {
        (true, _) => format!("aggregate {}{first}", aggregates.join(", ")),
        (false, true) => format!("group by {}", keys.join(", ")),
        _ => format!("group by {}: {}", keys.join(", "), aggregates.join(", ")),
    }
}

/// The joins, last one first, each above what it joins to.
fn join_lines(tables: &[BoundTable], steps: &[Step], once: &[Expr], names: &Names<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        let mut line = step_text(&tables[step.slot], step, names, n > 0);
        line.push_str(&conditions_text(", on ", &step.on, names));
        line.push_str(&conditions_text(", filter ", &step.filter, names));
        lines = if n == 0 { vec![line] } else { under(line, lines) };
    }
    if steps.is_empty() {
        lines.push("one row without a table".to_owned());
    }
    match once.is_empty() {
        true => lines,
        false => under(conditions_text("only if ", once, names), lines),
    }
}

pub(crate) fn conditions_text(word: &str, conditions: &[Expr], names: &Names<'_>) -> String {
    let texts: Vec<String> = conditions.iter().map(|condition| condition.show(names).to_string()).collect();
    if texts.is_empty() { String::new() } else { format!("{word}{}", texts.join(" AND ")) }
}

fn step_text(table: &BoundTable, step: &Step, names: &Names<'_>, joined: bool) -> String {
    let def = &table.def;
    let name =
        if table.alias == def.name { def.name.clone() } else { format!("{} {}", def.name, table.alias) };
    let path = path_text(def, &step.path, names);
    let rows = rows_text(&step.path);
    let outer = if step.left { "left " } else { "" };
    match (&step.hash, joined) {
        (None, false) => format!("{name}: {path}, {rows}"),
        (None, true) => format!("{outer}join {name}: for each row {path}, {rows}"),
        (Some(pairs), _) if pairs.is_empty() => {
            format!("{outer}join {name}: with every row of {path}, {rows} held")
        }
        (Some(pairs), _) => {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(outer, own)| format!("{} = {}", outer.show(names), own.show(names)))
                .collect();
            format!("{outer}join {name}: hash on {} of {path}, {rows} held", pairs.join(", "))
        }
    }
}

/// How the rows of a lone table are found.
pub(crate) fn reading_text(table: &BoundTable, path: &Path, names: &Names<'_>) -> String {
    format!("{}: {}, {}", table.def.name, path_text(&table.def, path, names), rows_text(path))
}

fn rows_text(path: &Path) -> String {
    format!("about {} rows", path.rows.round().max(0.0))
}

fn path_text(def: &TableDef, path: &Path, names: &Names<'_>) -> String {
    let back = if path.backward { " backward" } else { "" };
    let columns = path_columns(def, path.via);
    let via = match path.via {
        Via::Key => "key".to_owned(),
        Via::Index(n) => format!("index {}", def.indexes[n].name),
    };
    if path.is_whole() {
        return match path.via {
            Via::Key if def.kind == Kind::OrderedSet => format!("full scan{back} in key order"),
            Via::Key => format!("full scan{back}"),
            Via::Index(_) => format!("{via}, all of it{back}"),
        };
    }
    let mut parts = Vec::new();
    for (equal, &column) in path.equal.iter().zip(columns) {
        let name = &def.attributes[column].name;
        parts.push(match equal {
            Equal::One(expr) if is_multi(def, path.via) => format!("{name} contains {}", expr.show(names)),
            Equal::One(expr) => format!("{name} = {}", expr.show(names)),
            Equal::Any(list) => format!("{name} in {} values", list.len()),
            Equal::Null => format!("{name} is null"),
        });
    }
    if let (Some(range), Some(&column)) = (&path.range, columns.get(path.equal.len())) {
        let name = &def.attributes[column].name;
        let bound = |sign: &str, bound: &Option<(Expr, bool)>| {
            bound.as_ref().map(|(expr, included)| {
                format!("{name} {sign}{} {}", if *included { "=" } else { "" }, expr.show(names))
            })
        };
        parts.extend(bound(">", &range.low));
        parts.extend(bound("<", &range.high));
        parts.extend(
            range
                .text_prefix
                .as_ref()
                .map(|text| format!("{name} begins with {}", Value::from(text.as_str()))),
        );
    }
    let whole_key = path.via == Via::Key && path.equal.len() == columns.len();
    let word = if whole_key { "lookup" } else { "range" };
    format!("{via} {word}{back} ({})", parts.join(", "))
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Set => "set",
        Kind::OrderedSet => "ordered_set",
        Kind::Bag => "bag",
    }
}

fn names_of(def: &TableDef, positions: &[usize]) -> String {
    let names: Vec<&str> = positions.iter().map(|&n| def.attributes[n].name.as_str()).collect();
    names.join(", ")
}

pub(crate) fn show_tables<A: Access>(
    scope: &Scope<'_, A>,
    sink: &mut dyn Sink,
) -> Result<u64, Stop<A::Error>> {
    let mut tables = scope.access.tables().map_err(Stop::Access)?;
    tables.retain(|def| !def.is_system());
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    let rows = tables.iter().map(|def| {
        let indexes: Vec<&str> = def.indexes.iter().map(|index| index.name.as_str()).collect();
        vec![
            Value::from(def.name.as_str()),
            Value::from(kind_name(def.kind)),
            Value::Text(names_of(def, &def.key)),
            Value::Text(indexes.join(", ")),
            Value::from(scope.access.row_count(def)),
        ]
    });
    Ok(give(sink, &show_columns(), rows))
}

pub(crate) fn describe<A: Access>(
    scope: &Scope<'_, A>,
    name: &Name,
    sink: &mut dyn Sink,
) -> Result<u64, Stop<A::Error>> {
    let def = scope.table(name)?;
    let rows = def.attributes.iter().enumerate().map(|(position, attribute)| {
        let place = def.key.iter().position(|&n| n == position);
        let indexes = def.indexes.iter().filter(|index| index.attributes.contains(&position));
        let indexes: Vec<String> = indexes
            .map(|index| {
                format!(
                    "{}{} ({}{})",
                    if index.unique { "unique " } else { "" },
                    index.name,
                    if index.multi { "each " } else { "" },
                    names_of(&def, &index.attributes)
                )
            })
            .collect();
        vec![
            Value::from(attribute.name.as_str()),
            Value::from(attribute.ty.name()),
            Value::Bool(attribute.nullable),
            place.map_or_else(|| Value::from(""), |n| Value::Text(format!("{} of {}", n + 1, def.key.len()))),
            Value::Text(indexes.join(", ")),
        ]
    });
    Ok(give(sink, &describe_columns(), rows))
}
