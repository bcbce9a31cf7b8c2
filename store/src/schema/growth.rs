//! Definitions that grow: attributes are added behind the others, and rows that were written before stay as they are. They
//! read as if they had the defaults of what was added.

use std::collections::BTreeSet;

use super::attribute::Attribute;
use super::builder::{SchemaError, check_name};
use super::table_def::{Layout, TableDef};
use crate::limits::ATTRIBUTES_MAX;

impl TableDef {
    /// The next version of the definition, with these attributes behind the others and the record's version told. Each is
    /// nullable or has a default, since the rows that are there have no value for it.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn with_attributes(&self, added: &[Attribute], record: u32) -> Result<TableDef, SchemaError> {
        let mut grown = self.clone();
        let mut names: BTreeSet<String> = self.attributes.iter().map(|one| one.name.clone()).collect();
        let count = self.attributes.len() + added.len();
        if count > ATTRIBUTES_MAX {
            return Err(SchemaError::AttributeCount { table: self.name.clone(), count });
        }
        for one in added {
            check_name("attribute", &one.name)?;
            let (table, name) = (self.name.clone(), one.name.clone());
            if !names.insert(name.clone()) {
                return Err(SchemaError::SameName { what: "attributes", table, name });
            }
            let default = match &one.default {
                None if !one.nullable => return Err(SchemaError::NoDefault { table, attribute: name }),
                None => None,
                Some(default) => {
                    let taken = one.ty.admit(default.as_ref());
                    let taken = taken.filter(|value| one.nullable || !value.is_null());
                    let given = default.as_ref().type_name();
                    let bad = || SchemaError::BadDefault { table, attribute: name, given };
                    Some(taken.ok_or_else(bad)?.to_value())
                }
            };
            grown.attributes.push(Attribute { default, ..one.clone() });
        }
        grown.version = self.version.next();
        grown.layouts.push(Layout { since: grown.version, record });
        Ok(grown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Body, Row};
    use crate::schema::{TableDef, Type};
    use crate::value::Value;

    fn attribute(name: &str, ty: Type, nullable: bool, default: Option<Value>) -> Attribute {
        Attribute { name: name.into(), ty, nullable, default }
    }

    #[test]
    fn earlier_rows_are_completed_and_known_by_their_version() {
        // Aim: a row reads as one of the present layout, keeps its deadline, and tells which record it was written by. Method:
        // a row of each of three layouts, looked at under the last.
        let first = TableDef::builder("t").attribute("id", Type::Int).build().expect("right");
        let text = attribute("name", Type::Text, false, Some("none".into()));
        let second = first.with_attributes(&[text], 2).expect("has a default");
        let note = attribute("note", Type::Any, true, None);
        let third = second.with_attributes(&[note], 3).expect("may be null");
        let row = |def: &TableDef, values: &[Value]| def.encode_row(values).expect("fits");
        let old = row(&first, &[1.into()]).with_deadline(Some(77)).expect("short");
        let rows =
            [old, row(&second, &[2.into(), "b".into()]), row(&third, &[3.into(), "c".into(), 4.into()])];
        assert_eq!(rows.each_ref().map(|row| third.record_of(row)), [1, 2, 3]);
        let whole = rows.map(|row| match third.whole(&Body::Row(row)).into_owned() {
            Body::Row(row) => row,
            Body::Bag(_) => panic!("a row is a row"),
        });
        let values: Vec<Vec<Value>> = whole.iter().map(Row::to_values).collect();
        assert_eq!(values[0], [1.into(), "none".into(), Value::Null]);
        assert_eq!(values[1], [2.into(), "b".into(), Value::Null]);
        assert_eq!(values[2], [3.into(), "c".into(), 4.into()]);
        assert_eq!((whole[0].deadline_ms(), third.record_of(&whole[0])), (Some(77), 1));
    }

    #[test]
    fn what_cannot_be_added_is_refused() {
        let def = TableDef::builder("t").attribute("id", Type::Int).build().expect("right");
        let refused = |one: Attribute| def.with_attributes(&[one], 2).expect_err("refused");
        assert!(matches!(refused(attribute("a", Type::Int, false, None)), SchemaError::NoDefault { .. }));
        assert!(matches!(refused(attribute("id", Type::Int, true, None)), SchemaError::SameName { .. }));
        assert!(matches!(refused(attribute("", Type::Int, true, None)), SchemaError::BadName { .. }));
        let misfit = attribute("a", Type::Int, true, Some("x".into()));
        assert!(matches!(refused(misfit), SchemaError::BadDefault { .. }));
        let whole = attribute("a", Type::Float, false, Some(3.into()));
        let grown = def.with_attributes(&[whole], 2).expect("a whole number is a float");
        assert_eq!(grown.attributes[1].default, Some(Value::Float(3.0)));
    }
}
