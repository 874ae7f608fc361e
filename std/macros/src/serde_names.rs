//! Under which names serde writes the fields of a struct: those that are personal data are found by them.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Field, LitStr, Result, Token, parenthesized};

/// How a struct renames its fields.
pub(crate) enum Rename {
    None,
    All(LitStr),
}

impl Rename {
    /// What the attributes of a struct say that has personal data.
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut rename = Self::None;
        each_serde(attributes, |meta| {
            if meta.path.is_ident("rename_all") {
                if let Some(rule) = serialized(meta)? {
                    rename = Self::All(rule);
                }
                return Ok(());
            }
            if ["transparent", "into", "remote", "untagged", "content"].iter().any(|key| meta.path.is_ident(key)) {
                return Err(meta.error("a struct with `#[event(pii)]` must be written by serde as a map of its fields"));
            }
            skip(meta)
        })?;
        Ok(rename)
    }

    /// The name of a field that is personal data.
    pub(crate) fn apply(&self, field: &Field) -> Result<String> {
        let Some(ident) = &field.ident else {
            return Err(Error::new_spanned(
                field,
                "`pii` needs a field with a name: what has none cannot be told apart in JSON",
            ));
        };
        let mut own = None;
        each_serde(&field.attrs, |meta| {
            if meta.path.is_ident("rename") {
                own = serialized(meta)?.or(own.take());
                return Ok(());
            }
            if meta.path.is_ident("flatten") {
                return Err(
                    meta.error("a field with `#[event(pii)]` cannot be flattened: its parts would not be found")
                );
            }
            skip(meta)
        })?;
        if let Some(own) = own {
            return Ok(own.value());
        }
        let name = ident.to_string();
        let name = name.trim_start_matches("r#");
        match self {
            Self::None => Ok(name.to_owned()),
            Self::All(rule) => in_case(name, rule),
        }
    }
}

fn in_case(name: &str, rule: &LitStr) -> Result<String> {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    let pascal = || name.split('_').map(capital).collect::<String>();
    Ok(match rule.value().as_str() {
        "lowercase" | "snake_case" => name.to_owned(),
        "UPPERCASE" | "SCREAMING_SNAKE_CASE" => name.to_ascii_uppercase(),
        "PascalCase" => pascal(),
        "camelCase" => {
            let pascal = pascal();
            let mut letters = pascal.chars();
            letters.next().map(|first| first.to_ascii_lowercase().to_string() + letters.as_str()).unwrap_or_default()
        }
        "kebab-case" => name.replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => name.to_ascii_uppercase().replace('_', "-"),
        _ => return Err(Error::new(rule.span(), "serde has no such rule")),
    })
}

fn each_serde(attributes: &[Attribute], mut read: impl FnMut(&ParseNestedMeta<'_>) -> Result<()>) -> Result<()> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| read(&meta))?;
    }
    Ok(())
}

/// The name for serializing in `rename = "..."` or `rename(serialize = "...", deserialize = "...")`.
fn serialized(meta: &ParseNestedMeta<'_>) -> Result<Option<LitStr>> {
    if meta.input.peek(Token![=]) {
        return meta.value()?.parse().map(Some);
    }
    let mut name = None;
    meta.parse_nested_meta(|inner| {
        let value: LitStr = inner.value()?.parse()?;
        if inner.path.is_ident("serialize") {
            name = Some(value);
        }
        Ok(())
    })?;
    Ok(name)
}

/// Steps over what is serde's business alone.
fn skip(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<syn::Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        let inner;
        parenthesized!(inner in meta.input);
        inner.parse::<proc_macro2::TokenStream>()?;
    }
    Ok(())
}
