//! The types of a file's columns, inferred from all of their values. A column is of the narrowest type that every value
//! of it has: integer, float, true or false, else text. Empty fields are null and say nothing about the type. Words that a
//! parser could take for numbers (`NA`, `nan`, `inf`, `007`) are text.

use anyhow::{Context, Result};
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::AttributeType;

use crate::command::table::AttributeSpec;
use crate::file::{Fields, Line};
use crate::{json, literal};

/// What is known of the columns so far.
pub(crate) struct Inference {
    names: Vec<String>,
    columns: Vec<Column>,
    /// Types that are not inferred, by name: from options, or from the table that is there.
    stated: Vec<(String, AttributeType)>,
}

#[derive(Clone, Debug, Default)]
struct Column {
    ty: Option<AttributeType>,
    stated: Option<AttributeType>,
}

impl Inference {
    /// Nothing seen of these columns.
    pub(crate) fn new(names: Vec<String>, stated: Vec<(String, AttributeType)>) -> Inference {
        let mut inference = Inference { names: Vec::new(), columns: Vec::new(), stated };
        for name in names {
            inference.column(&name);
        }
        inference
    }

    /// The columns, in order.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Looks at a row. Fails where JSON says something that no table can hold as it is.
    pub(crate) fn see(&mut self, line: &Line) -> Result<()> {
        match &line.fields {
            Fields::Text(cells) => {
                let filled = self.columns.iter_mut().zip(cells);
                for (column, cell) in filled.filter(|(column, _)| column.stated.is_none()) {
                    if let Some(text) = cell.as_deref().filter(|text| !text.is_empty()) {
                        column.see(type_of_text(text, column.ty));
                    }
                }
            }
            Fields::Json(object) => {
                for (name, raw) in &object.0 {
                    let at = self.column(name);
                    let column = &mut self.columns[at];
                    let stated = column.stated.unwrap_or(AttributeType::Any);
                    let value = json::of_type(raw, stated).with_context(|| format!("column {name:?}"))?;
                    if let Some(ty) = type_of_value(&value) {
                        column.see(ty);
                    }
                }
            }
        }
        Ok(())
    }

    /// The attributes of a table for these columns. Those of the key are never null; the others may be, so that a later
    /// file with a gap still fits.
    pub(crate) fn attributes(&self, key: &[String]) -> Vec<AttributeSpec> {
        let each = self.names.iter().zip(&self.columns);
        each.map(|(name, column)| AttributeSpec {
            name: name.clone(),
            ty: column.stated.or(column.ty).unwrap_or(AttributeType::Text),
            nullable: !key.contains(name),
            default: None,
        })
        .collect()
    }

    fn column(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            let stated = self.stated.iter().find(|(known, _)| known == name).map(|(_, ty)| *ty);
            self.names.push(name.to_owned());
            self.columns.push(Column { ty: None, stated });
            self.names.len() - 1
        })
    }
}

impl Column {
    fn see(&mut self, ty: AttributeType) {
        self.ty = Some(self.ty.map_or(ty, |known| join(known, ty)));
    }
}

/// The narrowest type that holds both.
fn join(a: AttributeType, b: AttributeType) -> AttributeType {
    use AttributeType::{Bool, Float, Int, Text};
    match (a, b) {
        _ if a == b => a,
        (Int, Float) | (Float, Int) => Float,
        (Bool | Float | Int | Text, Bool | Float | Int | Text) => Text,
        _ => AttributeType::Any,
    }
}

fn type_of_text(text: &str, known: Option<AttributeType>) -> AttributeType {
    if known == Some(AttributeType::Text) {
        return AttributeType::Text; // nothing changes that
    }
    if literal::integer(text).is_some() {
        AttributeType::Int
    } else if literal::number(text).is_some() {
        AttributeType::Float
    } else if matches!(text, "true" | "false") {
        AttributeType::Bool
    } else {
        AttributeType::Text
    }
}

fn type_of_value(value: &Value) -> Option<AttributeType> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => AttributeType::Bool,
        Value::Int(_) | Value::Uint(_) => AttributeType::Int,
        Value::Float(_) => AttributeType::Float,
        Value::Text(_) => AttributeType::Text,
        Value::Bytes(_) => AttributeType::Bytes,
        Value::Timestamp(_) => AttributeType::Timestamp,
        Value::List(_) => AttributeType::List,
        Value::Map(_) => AttributeType::Map,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inferred(texts: &[&str]) -> AttributeType {
        let mut inference = Inference::new(vec!["c".into()], Vec::new());
        for text in texts {
            let fields = Fields::Text(vec![Some((*text).to_owned())]);
            inference.see(&Line { number: 0, end: 0, fields }).unwrap();
        }
        inference.attributes(&[])[0].ty
    }

    #[test]
    fn a_column_is_of_the_narrowest_type_of_all_its_values() {
        // Aim: the whole file decides, not its first lines. Method: the deciding value stands last.
        assert_eq!(inferred(&["1", "", "-7"]), AttributeType::Int);
        assert_eq!(inferred(&["1", "2.5"]), AttributeType::Float);
        assert_eq!(inferred(&["1", "2.5", "x"]), AttributeType::Text);
        assert_eq!(inferred(&["true", "false"]), AttributeType::Bool);
        assert_eq!(inferred(&["true", "1"]), AttributeType::Text);
        assert_eq!(inferred(&["", ""]), AttributeType::Text);
    }

    #[test]
    fn words_that_look_like_nothing_or_numbers_stay_text() {
        // Aim: Namibia keeps its code. Method: the usual suspects.
        for word in ["NA", "nan", "NaN", "inf", "null", "007", "1_000", "0x1f"] {
            assert_eq!(inferred(&[word]), AttributeType::Text, "{word}");
        }
    }
}
