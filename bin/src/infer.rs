//! The types of a file's columns, inferred from all of their values. A column is of the narrowest type that every value
//! of it has: integer, float, true or false, else text. Empty fields are null and say nothing about the type. Words that a
//! parser could take for numbers (`NA`, `nan`, `inf`, `007`) are text.

use hypermnesia_rpc::client::AttributeType;

use crate::command::table::AttributeSpec;
use crate::file::{Fields, Line};
use crate::literal;

/// What is known of the columns so far.
pub(crate) struct Inference {
    names: Vec<String>,
    columns: Vec<Column>,
    rows: u64,
}

#[derive(Clone, Debug, Default)]
struct Column {
    ty: Option<AttributeType>,
    stated: Option<AttributeType>,
    /// Rows in which it had a value.
    values: u64,
}

impl Inference {
    /// Nothing seen of these columns.
    pub(crate) fn new(names: Vec<String>) -> Inference {
        Inference { columns: vec![Column::default(); names.len()], names, rows: 0 }
    }

    /// The columns, in order.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Looks at a row.
    pub(crate) fn see(&mut self, line: &Line) {
        self.rows += 1;
        match &line.fields {
            Fields::Text(texts) => {
                for (column, text) in self.columns.iter_mut().zip(texts).filter(|(_, text)| !text.is_empty())
                {
                    column.see(type_of_text(text, column.ty));
                }
            }
            Fields::Json(object) => {
                for (name, json) in object {
                    let column = self.column(name);
                    if let Some(ty) = type_of_json(json) {
                        self.columns[column].see(ty);
                    }
                }
            }
        }
    }

    /// Says the type of a column; false when there is no such column.
    pub(crate) fn state(&mut self, name: &str, ty: AttributeType) -> bool {
        let column = self.names.iter().position(|known| known == name);
        column.is_some_and(|at| {
            self.columns[at].stated = Some(ty);
            true
        })
    }

    /// The attributes of a table for these columns. Those of the key are never null; the others may be, so that a later
    /// file with a gap still fits.
    pub(crate) fn attributes(&self, key: &[String]) -> Vec<AttributeSpec> {
        let each = self.names.iter().zip(&self.columns);
        each.map(|(name, column)| AttributeSpec {
            name: name.clone(),
            ty: column.stated.or(column.ty).unwrap_or(AttributeType::Text),
            nullable: !key.contains(name),
        })
        .collect()
    }

    fn column(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.columns.push(Column::default());
            self.names.len() - 1
        })
    }
}

impl Column {
    fn see(&mut self, ty: AttributeType) {
        self.values += 1;
        self.ty = Some(self.ty.map_or(ty, |known| join(known, ty)));
    }
}

/// The narrowest type that holds both.
fn join(a: AttributeType, b: AttributeType) -> AttributeType {
    use AttributeType::{Any, Float, Int, List, Map, Text};
    match (a, b) {
        _ if a == b => a,
        (Int, Float) | (Float, Int) => Float,
        (List | Map | Any, _) | (_, List | Map | Any) => Any,
        _ => Text,
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

fn type_of_json(json: &serde_json::Value) -> Option<AttributeType> {
    Some(match json {
        serde_json::Value::Null => return None,
        serde_json::Value::Bool(_) => AttributeType::Bool,
        serde_json::Value::Number(n) if literal::integer(&n.to_string()).is_some() => AttributeType::Int,
        serde_json::Value::Number(_) => AttributeType::Float,
        serde_json::Value::String(_) => AttributeType::Text,
        serde_json::Value::Array(_) => AttributeType::List,
        serde_json::Value::Object(_) => AttributeType::Map,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inferred(texts: &[&str]) -> AttributeType {
        let mut inference = Inference::new(vec!["c".into()]);
        for text in texts {
            inference.see(&Line { number: 0, end: 0, fields: Fields::Text(vec![(*text).to_owned()]) });
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
