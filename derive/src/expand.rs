//! From the description of a record to code. All paths go through `::hypermnesia::record::derived`, so the user's crate
//! needs no other dependency and no name in its scope.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Ident;

use crate::parse::{Record, here};

pub(crate) fn expand(record: &Record) -> TokenStream {
    let implementation = implementation(record);
    let view = view(record);
    quote! {
        #implementation
        #view
    }
}

fn implementation(record: &Record) -> TokenStream {
    let Record { name, view, table, version, .. } = record;
    let (key_type, key_value, encoded_key) = key(record);
    let definition = definition(record);
    let fields: Vec<_> = record.attributes.iter().map(|attribute| &attribute.field).collect();
    let reads = (0_usize..).zip(&record.attributes).map(|(position, attribute)| {
        let (field, ty, called) = (&attribute.field, &attribute.ty, &attribute.name);
        let read = Ident::new(if attribute.default { "read_or_default" } else { "read" }, here());
        quote! { #field: ::hypermnesia::record::derived::#read::<#ty>(row, #position, #table, #called)? }
    });
    quote! {
        #[automatically_derived]
        impl ::hypermnesia::record::Record for #name {
            type Key = #key_type;
            type View<'r> = #view<'r>;
            const TABLE: &'static str = #table;
            const VERSION: u32 = #version;

            fn definition() -> ::hypermnesia::record::derived::TableBuilder {
                #definition
            }

            fn key(&self) -> Self::Key {
                #key_value
            }

            fn encode_key(
                &self,
                table: &::hypermnesia::record::derived::TableDef,
            ) -> ::core::result::Result<
                ::hypermnesia::record::derived::Key,
                ::hypermnesia::record::derived::RowError,
            > {
                #encoded_key
            }

            fn encode(
                &self,
                table: &::hypermnesia::record::derived::TableDef,
            ) -> ::core::result::Result<
                ::hypermnesia::record::derived::Row,
                ::hypermnesia::record::derived::RowError,
            > {
                let values = [#(::hypermnesia::record::ToValue::lend(&self.#fields)),*];
                table.encode_row_refs(values.iter().map(::hypermnesia::record::Lent::as_ref))
            }

            fn decode(
                row: &::hypermnesia::record::derived::Row,
            ) -> ::core::result::Result<Self, ::hypermnesia::record::RecordError> {
                ::core::result::Result::Ok(Self { #(#reads),* })
            }

            fn view(row: &::hypermnesia::record::derived::Row) -> Self::View<'_> {
                #view { row }
            }
        }
    }
}

/// The type of the key, the expression for it, and the one that encodes it.
fn key(record: &Record) -> (TokenStream, TokenStream, TokenStream) {
    let keys: Vec<_> = record.key.iter().map(|&position| &record.attributes[position]).collect();
    let fields: Vec<_> = keys.iter().map(|attribute| &attribute.field).collect();
    let types: Vec<_> = keys.iter().map(|attribute| &attribute.ty).collect();
    if let ([field], [ty]) = (&fields[..], &types[..]) {
        let encoded =
            quote! { <#ty as ::hypermnesia::record::KeyForm<#ty>>::encode_key(&self.#field, table) };
        return (quote! { #ty }, quote! { ::core::clone::Clone::clone(&self.#field) }, encoded);
    }
    let encoded = quote! {
        let parts = [#(::hypermnesia::record::ToValue::lend(&self.#fields)),*];
        table.encode_key_refs(parts.iter().map(::hypermnesia::record::Lent::as_ref))
    };
    (quote! { (#(#types),*) }, quote! { (#(::core::clone::Clone::clone(&self.#fields)),*) }, encoded)
}

fn definition(record: &Record) -> TokenStream {
    let kind = Ident::new(record.kind, here());
    let version = record.version;
    let name_at = |&position: &usize| record.attributes[position].name.clone();
    let attributes = record.attributes.iter().map(|attribute| {
        let (ty, name) = (&attribute.ty, &attribute.name);
        let defaulted = attribute.default.then(|| {
            quote! {
                let builder = builder.default(#name, ::hypermnesia::record::derived::default_of::<#ty>());
            }
        });
        quote! {
            let builder = ::hypermnesia::record::derived::attribute::<#ty>(builder, #name);
            #defaulted
        }
    });
    let key = record.key.iter().map(name_at);
    let indexes = record.indexes.iter().map(|index| {
        let method = Ident::new(if index.unique { "unique_index" } else { "index" }, here());
        let (name, names) = (&index.name, index.attributes.iter().map(name_at));
        quote! { .#method(#name, [#(#names),*]) }
    });
    quote! {
        let builder = ::hypermnesia::record::derived::TableDef::builder(Self::TABLE)
            .kind(::hypermnesia::record::derived::Kind::#kind)
            .version(::hypermnesia::record::derived::SchemaVersion(#version));
        #(#attributes)*
        builder.key([#(#key),*])#(#indexes)*
    }
}

fn view(record: &Record) -> TokenStream {
    let Record { name, view, visibility, table, .. } = record;
    let about =
        format!("A [`{name}`] read in place: each method decodes one attribute, borrowed from the row.");
    let methods = (0_usize..).zip(&record.attributes).map(|(position, attribute)| {
        let (field, ty, called) = (&attribute.field, &attribute.ty, &attribute.name);
        let about = format!("The attribute `{called}`.");
        quote! {
            #[doc = #about]
            #visibility fn #field(
                &self,
            ) -> ::core::result::Result<
                <#ty as ::hypermnesia::record::AttributeType>::View<'r>,
                ::hypermnesia::record::RecordError,
            > {
                ::hypermnesia::record::derived::read(self.row, #position, #table, #called)
            }
        }
    });
    quote! {
        #[doc = #about]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        #[allow(dead_code)]
        #visibility struct #view<'r> {
            row: &'r ::hypermnesia::record::derived::Row,
        }

        #[automatically_derived]
        #[allow(dead_code)]
        impl<'r> #view<'r> {
            #(#methods)*
        }
    }
}
