//! The code that the derive writes.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Result};

use crate::attributes::{TypeAttributes, event_attributes, is_pii};
use crate::serde_names::Rename;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    if !input.generics.params.is_empty() {
        let rule = "an event type has no parameters: all of its kinds would share one topic. Wrap the one that is meant in a struct";
        return Err(Error::new(input.generics.span(), rule));
    }
    let attributes = TypeAttributes::of(input)?;
    let fields = match &input.data {
        Data::Struct(data) => Some(&data.fields),
        Data::Enum(_) => None,
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span(),
                "an event type is a struct or an enum; a union cannot be read",
            ));
        }
    };
    let Some(topic) = &attributes.topic else {
        let rule = "an event type needs a topic: `#[event(topic = \"domain.action\")]`";
        let span = event_attributes(&input.attrs).next().map_or(input.ident.span(), Spanned::span);
        return Err(Error::new(span, rule));
    };
    let pii = pii(input)?;
    let body = consts(&attributes);
    let duplicate = duplicate(&attributes);
    let debug = attributes.debug.map_or(Ok(TokenStream::new()), |at| debug(input, fields, at))?;
    let name = &input.ident;
    let names = pii.iter();
    Ok(quote! {
        #[automatically_derived]
        impl ::nervebus::TypedEvent for #name {
            const TOPIC: &'static str = #topic;
            const PII: &'static [&'static str] = &[#(#names),*];
            #body
            #duplicate
            fn from_json(
                value: &::nervebus::Value,
            ) -> ::core::option::Option<::core::result::Result<Self, ::nervebus::__derive::Error>> {
                #[allow(unused_imports, reason = "one of the two, by what the type can do")]
                use ::nervebus::__derive::{Deserialized as _, NotDeserialized as _, Probe};
                (&&Probe::<Self>::NEW).deserialized(value)
            }
        }
        #debug
    })
}

fn consts(attributes: &TypeAttributes) -> TokenStream {
    let TypeAttributes { version, category, key, class, ttl, emits, .. } = attributes;
    let version = version.map(|version| quote! { const VERSION: u32 = #version; });
    let variant = |name: &str| Ident::new(name, Span::call_site());
    let category = category.map(variant).map(|category| {
        quote! { const CATEGORY: ::nervebus::Category = ::nervebus::Category::#category; }
    });
    let class = class.map(variant).map(|class| {
        quote! { const CLASS: ::nervebus::Class = ::nervebus::Class::#class; }
    });
    let ttl = ttl.map(|ttl| {
        quote! {
            const TTL: ::core::option::Option<::core::time::Duration> =
                ::core::option::Option::Some(::core::time::Duration::from_millis(#ttl));
        }
    });
    let emits = emits.as_ref().map(|emits| quote! { const EMITS: &'static [&'static str] = &[#(#emits),*]; });
    let key = key.as_ref().map(|key| {
        // Where the field is named, so that one that cannot be hashed is blamed there.
        let field = quote_spanned! { key.span() => ::nervebus::__derive::hashed(&self.#key) };
        let name = key.to_token_stream().to_string().trim_start_matches("r#").to_owned();
        quote! {
            const KEY: ::core::option::Option<&'static str> = ::core::option::Option::Some(#name);
            fn key(&self) -> ::core::option::Option<impl ::core::hash::Hash> {
                ::core::option::Option::Some(#field)
            }
        }
    });
    quote! { #version #category #class #ttl #emits #key }
}

fn duplicate(attributes: &TypeAttributes) -> TokenStream {
    if attributes.duplicate {
        return quote! {
            fn duplicate(&self) -> ::core::option::Option<Self> {
                ::core::option::Option::Some(::core::clone::Clone::clone(self))
            }
        };
    }
    quote! {
        fn duplicate(&self) -> ::core::option::Option<Self> {
            #[allow(unused_imports, reason = "one of the two, by what the type can do")]
            use ::nervebus::__derive::{Copied as _, NotCopied as _, Probe};
            (&&Probe::<Self>::NEW).duplicate(self)
        }
    }
}

/// The names, in JSON, of the fields that are personal data.
fn pii(input: &DeriveInput) -> Result<Vec<String>> {
    let fields = match &input.data {
        Data::Struct(data) => &data.fields,
        Data::Enum(data) => {
            for variant in &data.variants {
                if let Some(attribute) = event_attributes(&variant.attrs).next() {
                    return Err(Error::new_spanned(
                        attribute,
                        "a variant has nothing to say; `pii` belongs to a field of a struct",
                    ));
                }
                for field in &variant.fields {
                    if is_pii(field)? {
                        return Err(Error::new_spanned(
                            field,
                            "`pii` belongs to a field of a struct: put the enum in a field of one, and mark that",
                        ));
                    }
                }
            }
            return Ok(Vec::new());
        }
        Data::Union(_) => return Ok(Vec::new()),
    };
    let mut marked = Vec::new();
    for field in fields {
        if is_pii(field)? {
            marked.push(field);
        }
    }
    if marked.is_empty() {
        return Ok(Vec::new());
    }
    let rename = Rename::of(&input.attrs)?;
    marked.into_iter().map(|field| rename.apply(field)).collect()
}

/// `Debug`, without personal data.
fn debug(input: &DeriveInput, fields: Option<&Fields>, at: Span) -> Result<TokenStream> {
    let name = &input.ident;
    let text = name.to_string();
    let Some(fields) = fields else {
        return Err(Error::new(at, "`debug` is for structs; derive `Debug` for an enum"));
    };
    let mut shown = Vec::new();
    for (field, member) in fields.iter().zip(fields.members()) {
        let value = if is_pii(field)? {
            quote! { &::core::format_args!("[REDACTED]") }
        } else {
            quote! { &self.#member }
        };
        shown.push(match &field.ident {
            Some(ident) => {
                let label = ident.to_string();
                let label = label.trim_start_matches("r#");
                quote! { .field(#label, #value) }
            }
            None => quote! { .field(#value) },
        });
    }
    let begin = match fields {
        Fields::Unnamed(_) => quote! { debug_tuple },
        Fields::Named(_) | Fields::Unit => quote! { debug_struct },
    };
    Ok(quote! {
        #[automatically_derived]
        impl ::core::fmt::Debug for #name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.#begin(#text) #(#shown)* .finish()
            }
        }
    })
}
