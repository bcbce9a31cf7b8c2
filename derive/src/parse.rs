//! From the struct and its attributes to a description of the table. Every mistake is reported where it stands.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, Ident, LitInt, LitStr, Result, Token, Type, Visibility};

/// A struct that can be a record.
pub(crate) struct Record {
    pub(crate) name: Ident,
    pub(crate) visibility: Visibility,
    pub(crate) view: Ident,
    pub(crate) table: String,
    /// The name of a variant of `Kind`.
    pub(crate) kind: &'static str,
    pub(crate) version: u32,
    /// In the order of the struct, never empty.
    pub(crate) attributes: Vec<Attribute>,
    /// Positions, never empty.
    pub(crate) key: Vec<usize>,
    pub(crate) indexes: Vec<Index>,
}

/// One field.
pub(crate) struct Attribute {
    pub(crate) field: Ident,
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) default: bool,
}

/// One index, with positions.
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) attributes: Vec<usize>,
    pub(crate) unique: bool,
}

/// An index as written on the struct, before its fields are known.
struct NamedIndex {
    name: Ident,
    fields: Vec<Ident>,
    unique: bool,
}

#[derive(Default)]
struct StructOptions {
    table: Option<String>,
    kind: Option<&'static str>,
    version: Option<u32>,
    view: Option<Ident>,
    indexes: Vec<NamedIndex>,
}

#[derive(Default)]
struct FieldOptions {
    key: bool,
    default: bool,
    name: Option<String>,
    /// Name if given, and whether unique.
    indexes: Vec<(Option<String>, bool)>,
}

pub(crate) fn parse(input: &DeriveInput) -> Result<Record> {
    let fields = named_fields(input)?;
    let mut options = StructOptions::default();
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("record")) {
        attribute.parse_nested_meta(|meta| struct_option(&mut options, &meta))?;
    }
    let (mut attributes, mut key, mut indexes) = (Vec::new(), Vec::new(), Vec::new());
    for (position, field) in fields.iter().enumerate() {
        let (attribute, options) = attribute(field)?;
        if options.key {
            key.push(position);
        }
        for (name, unique) in options.indexes {
            let name = name.unwrap_or_else(|| format!("by_{}", attribute.name));
            indexes.push(Index { name, attributes: vec![position], unique });
        }
        attributes.push(attribute);
    }
    if key.is_empty() {
        return Err(Error::new(
            input.ident.span(),
            "a record needs a key: mark one field with #[record(key)], or several for a composite key",
        ));
    }
    if key.len() > KEY_FIELDS_MAX {
        let span = attributes[key[KEY_FIELDS_MAX]].field.span();
        return Err(Error::new(span, format!("a record's key has at most {KEY_FIELDS_MAX} fields")));
    }
    refuse_same_names(&attributes)?;
    for named in options.indexes {
        indexes.push(resolve(named, &attributes)?);
    }
    Ok(Record {
        name: input.ident.clone(),
        visibility: input.vis.clone(),
        view: options.view.unwrap_or_else(|| Ident::new(&format!("{}View", input.ident), input.ident.span())),
        table: options.table.unwrap_or_else(|| snake_case(&input.ident.to_string())),
        kind: options.kind.unwrap_or("Set"),
        version: options.version.unwrap_or(1),
        attributes,
        key,
        indexes,
    })
}

/// Tuples of up to this many values are keys (the library implements its traits for them one by one).
const KEY_FIELDS_MAX: usize = 6;

fn named_fields(input: &DeriveInput) -> Result<&Punctuated<Field, Token![,]>> {
    if !input.generics.params.is_empty() {
        return Err(Error::new(
            input.generics.span(),
            "a record cannot be generic: its table has one definition",
        ));
    }
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Ok(&fields.named),
            other => Err(Error::new(
                if other.is_empty() { input.ident.span() } else { other.span() },
                "a record needs named fields: their names are the attributes of its table",
            )),
        },
        Data::Enum(data) => {
            Err(Error::new(data.enum_token.span, "a record is a struct; keep an enum in a field of one"))
        }
        Data::Union(data) => Err(Error::new(data.union_token.span, "a record is a struct, not a union")),
    }
}

fn struct_option(options: &mut StructOptions, meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.path.is_ident("table") {
        options.table = Some(text(meta)?.value());
    } else if meta.path.is_ident("kind") {
        let kind = text(meta)?;
        options.kind = Some(match kind.value().as_str() {
            "set" => "Set",
            "ordered_set" => "OrderedSet",
            "bag" => "Bag",
            _ => {
                return Err(Error::new(
                    kind.span(),
                    "a table is of kind \"set\", \"ordered_set\" or \"bag\"",
                ));
            }
        });
    } else if meta.path.is_ident("version") {
        let version: LitInt = meta.value()?.parse()?;
        let number = version.base10_parse()?;
        if number == 0 {
            return Err(Error::new(version.span(), "versions count from 1"));
        }
        options.version = Some(number);
    } else if meta.path.is_ident("view") {
        options.view = Some(text(meta)?.parse()?);
    } else if meta.path.is_ident("index") || meta.path.is_ident("unique") {
        let unique = meta.path.is_ident("unique");
        meta.parse_nested_meta(|index| {
            let name = index.path.require_ident()?.clone();
            let content;
            syn::parenthesized!(content in index.input);
            let fields = Punctuated::<Ident, Token![,]>::parse_terminated(&content)?;
            options.indexes.push(NamedIndex { name, fields: fields.into_iter().collect(), unique });
            Ok(())
        })?;
    } else {
        return Err(
            meta.error("a record's struct takes table, kind, version, view, index(..) and unique(..)")
        );
    }
    Ok(())
}

fn attribute(field: &Field) -> Result<(Attribute, FieldOptions)> {
    let mut options = FieldOptions::default();
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("record")) {
        attribute.parse_nested_meta(|meta| field_option(&mut options, &meta))?;
    }
    let ident = field.ident.clone().ok_or_else(|| Error::new(field.span(), "a record needs named fields"))?;
    let name = options.name.take().unwrap_or_else(|| ident.to_string().trim_start_matches("r#").to_owned());
    let attribute = Attribute { field: ident, name, ty: field.ty.clone(), default: options.default };
    Ok((attribute, options))
}

fn field_option(options: &mut FieldOptions, meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.path.is_ident("key") {
        options.key = true;
    } else if meta.path.is_ident("default") {
        options.default = true;
    } else if meta.path.is_ident("rename") {
        options.name = Some(text(meta)?.value());
    } else if meta.path.is_ident("index") || meta.path.is_ident("unique") {
        let name = if meta.input.peek(Token![=]) { Some(text(meta)?.value()) } else { None };
        options.indexes.push((name, meta.path.is_ident("unique")));
    } else {
        return Err(meta.error("a record's field takes key, index, unique, rename and default"));
    }
    Ok(())
}

fn resolve(named: NamedIndex, attributes: &[Attribute]) -> Result<Index> {
    if named.fields.is_empty() {
        return Err(Error::new(named.name.span(), "an index needs at least one field"));
    }
    let mut positions = Vec::new();
    for field in named.fields {
        let Some(position) = attributes.iter().position(|attribute| attribute.field == field) else {
            return Err(Error::new(field.span(), format!("the record has no field {field}")));
        };
        if positions.contains(&position) {
            return Err(Error::new(field.span(), format!("{field} stands twice in this index")));
        }
        positions.push(position);
    }
    Ok(Index { name: named.name.to_string(), attributes: positions, unique: named.unique })
}

fn refuse_same_names(attributes: &[Attribute]) -> Result<()> {
    for (n, attribute) in attributes.iter().enumerate() {
        if attributes[..n].iter().any(|earlier| earlier.name == attribute.name) {
            let message = format!("two attributes are called {:?}", attribute.name);
            return Err(Error::new(attribute.field.span(), message));
        }
    }
    Ok(())
}

fn text(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let text: LitStr = meta.value()?.parse()?;
    if text.value().is_empty() {
        return Err(Error::new(text.span(), "a name cannot be empty"));
    }
    Ok(text)
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    let mut after_lower = false;
    for letter in name.trim_start_matches("r#").chars() {
        if letter.is_uppercase() && after_lower {
            snake.push('_');
        }
        after_lower = !letter.is_uppercase();
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Where generated names that cannot be wrong stand.
pub(crate) fn here() -> Span {
    Span::call_site()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(code: &str) -> Result<Record> {
        parse(&syn::parse_str(code).expect("the test writes Rust"))
    }

    #[test]
    fn a_full_record_is_understood() {
        // Aim: every attribute ends where it belongs. Method: one struct with all of them.
        let record = parsed(
            r#"#[record(table = "towns", kind = "ordered_set", version = 3, unique(by_place(lat, lng)))]
            struct Town {
                #[record(key)] country: String,
                #[record(key, rename = "no")] r#type: u32,
                #[record(index)] name: String,
                #[record(unique = "one_lat")] lat: f64,
                #[record(default)] lng: f64,
            }"#,
        )
        .expect("good");
        assert_eq!((record.table.as_str(), record.kind, record.version), ("towns", "OrderedSet", 3));
        assert_eq!(record.key, [0, 1]);
        assert_eq!(record.attributes[1].name, "no");
        assert!(record.attributes[4].default);
        let indexes: Vec<_> =
            record.indexes.iter().map(|i| (i.name.as_str(), &i.attributes[..], i.unique)).collect();
        assert_eq!(
            indexes,
            [("by_name", &[2][..], false), ("one_lat", &[3], true), ("by_place", &[3, 4], true)]
        );
        assert_eq!(record.view.to_string(), "TownView");
    }

    #[test]
    fn names_follow_the_struct() {
        // Aim: defaults are predictable. Method: a struct without options.
        let record = parsed("struct PageVisit { #[record(key)] r#type: u8 }").expect("good");
        assert_eq!((record.table.as_str(), record.kind, record.version), ("page_visit", "Set", 1));
        assert_eq!(record.attributes[0].name, "type");
    }

    #[test]
    fn mistakes_are_told_in_words() {
        // Aim: each mistake has its message. Method: one mistake at a time.
        for (code, words) in [
            ("struct A { a: u8 }", "needs a key"),
            ("enum A { B }", "a record is a struct"),
            ("union A { a: u8 }", "not a union"),
            ("struct A(u8);", "named fields"),
            ("struct A;", "named fields"),
            ("struct A<T> { #[record(key)] a: T }", "cannot be generic"),
            (r#"#[record(kind = "heap")] struct A { #[record(key)] a: u8 }"#, "of kind"),
            ("#[record(version = 0)] struct A { #[record(key)] a: u8 }", "count from 1"),
            ("#[record(tabel = \"x\")] struct A { #[record(key)] a: u8 }", "takes table"),
            ("struct A { #[record(kex)] a: u8 }", "takes key"),
            ("struct A { #[record(key, rename = \"\")] a: u8 }", "cannot be empty"),
            ("struct A { #[record(key)] a: u8, #[record(rename = \"a\")] b: u8 }", "two attributes"),
            ("#[record(index(i(b)))] struct A { #[record(key)] a: u8 }", "no field b"),
            ("#[record(index(i(a, a)))] struct A { #[record(key)] a: u8 }", "twice"),
            ("#[record(index(i()))] struct A { #[record(key)] a: u8 }", "at least one"),
        ] {
            let message = parsed(code).err().map(|mistake| mistake.to_string()).unwrap_or_default();
            assert!(message.contains(words), "{code}: {message}");
        }
    }
}
