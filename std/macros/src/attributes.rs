//! What stands in `#[event(...)]`, checked.

use nervebus_core::Topic;
use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::parse::Parse;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::token::Paren;
use syn::{Attribute, Data, DeriveInput, Error, Field, Fields, LitInt, LitStr, Member, Result, Token, parenthesized};

/// What a type says of itself.
#[derive(Default)]
pub(crate) struct TypeAttributes {
    pub(crate) topic: Option<LitStr>,
    pub(crate) version: Option<u32>,
    /// A variant of `Category`.
    pub(crate) category: Option<&'static str>,
    pub(crate) key: Option<Member>,
    /// A variant of `Class`.
    pub(crate) class: Option<&'static str>,
    /// In milliseconds.
    pub(crate) ttl: Option<u64>,
    pub(crate) emits: Option<Vec<LitStr>>,
    /// Where it is asked for.
    pub(crate) debug: Option<Span>,
    pub(crate) duplicate: bool,
}

const KEYS: &str = "`topic`, `version`, `category`, `key`, `priority`, `ttl`, `emits`, `debug` and `duplicate`";
const CATEGORIES: [(&str, &str); 3] = [("event", "Event"), ("command", "Command"), ("intent", "Intent")];
const CLASSES: [(&str, &str); 4] = [("low", "Low"), ("normal", "Normal"), ("high", "High"), ("critical", "Critical")];
/// Units of a time to live, in milliseconds.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

impl TypeAttributes {
    pub(crate) fn of(input: &DeriveInput) -> Result<Self> {
        let mut read = Self::default();
        for attribute in event_attributes(&input.attrs) {
            attribute.parse_nested_meta(|meta| read.take(&meta))?;
        }
        if let Some(key) = &read.key {
            check_key(key, &input.data)?;
        }
        Ok(read)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        match name.as_str() {
            "topic" => {
                once(meta, &mut self.topic, checked_topic(value(meta, "a text, as in `topic = \"order.placed\"`")?)?)
            }
            "version" => once(meta, &mut self.version, version(&value(meta, "a whole number, as in `version = 2`")?)?),
            "category" => once(meta, &mut self.category, one_of(meta, &CATEGORIES, "category")?),
            "key" => {
                once(meta, &mut self.key, value(meta, "a field, as in `key = id`, or `key = 0` in a tuple struct")?)
            }
            "priority" => once(meta, &mut self.class, one_of(meta, &CLASSES, "priority")?),
            "ttl" => once(meta, &mut self.ttl, milliseconds(&value(meta, "a text, as in `ttl = \"30s\"`")?)?),
            "emits" => once(meta, &mut self.emits, emits(meta)?),
            "debug" => {
                let mut given = self.debug.is_some();
                self.debug = Some(meta.path.span());
                flag(meta, &mut given)
            }
            "duplicate" => flag(meta, &mut self.duplicate),
            "pii" => Err(meta.error("`pii` belongs to a field: write `#[event(pii)]` above the one that it is about")),
            _ => Err(meta.error(format!("unknown key; a type has {KEYS}"))),
        }
    }
}

/// Whether a field says that it is personal data.
pub(crate) fn is_pii(field: &Field) -> Result<bool> {
    let mut pii = false;
    for attribute in event_attributes(&field.attrs) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("pii") {
                return Err(meta.error("unknown key; a field has `pii` only"));
            }
            flag(&meta, &mut pii)
        })?;
    }
    Ok(pii)
}

pub(crate) fn event_attributes(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("event"))
}

fn once<T>(meta: &ParseNestedMeta<'_>, place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(meta.error("given twice; once is enough")),
    }
}

/// What stands behind `key =`, which must be this.
fn value<T: Parse>(meta: &ParseNestedMeta<'_>, what: &str) -> Result<T> {
    if !meta.input.peek(Token![=]) {
        return Err(meta.error(format!("it has no value, and needs {what}")));
    }
    meta.value()?.parse().map_err(|error| Error::new(error.span(), format!("this should be {what}")))
}

fn flag(meta: &ParseNestedMeta<'_>, place: &mut bool) -> Result<()> {
    if meta.input.peek(Token![=]) || meta.input.peek(Paren) {
        return Err(meta.error("it has no value: it is there or it is not"));
    }
    if std::mem::replace(place, true) { Err(meta.error("given twice; once is enough")) } else { Ok(()) }
}

fn checked_topic(name: LitStr) -> Result<LitStr> {
    let text = name.value();
    let topic = Topic::strict(&text).map_err(|error| {
        let rule = "a name is `domain.action[.sub]*`, where each part is a lower-case letter and then such letters, digits and `_`";
        Error::new(name.span(), format!("{error}; {rule}"))
    })?;
    if topic.domain() == "system" {
        return Err(Error::new(name.span(), "the domain `system` is the bus's own; choose another"));
    }
    Ok(name)
}

fn version(number: &LitInt) -> Result<u32> {
    number
        .base10_parse()
        .ok()
        .filter(|version| *version > 0)
        .ok_or_else(|| Error::new(number.span(), format!("a version is a whole number from 1 to {}", u32::MAX)))
}

fn one_of(meta: &ParseNestedMeta<'_>, known: &[(&str, &'static str)], what: &str) -> Result<&'static str> {
    let names: Vec<_> = known.iter().map(|(name, _)| format!("{name:?}")).collect();
    let names = names.join(", ");
    let word: LitStr = value(meta, &format!("a text, one of {names}"))?;
    let text = word.value();
    let found = known.iter().find(|(name, _)| *name == text);
    found
        .map(|(_, variant)| *variant)
        .ok_or_else(|| Error::new(word.span(), format!("unknown {what} {text:?}; there are {names}")))
}

fn milliseconds(word: &LitStr) -> Result<u64> {
    let text = word.value();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit);
    let time = number.parse::<u64>().ok().zip(unit).and_then(|(number, (_, of))| number.checked_mul(*of));
    time.filter(|time| *time > 0).ok_or_else(|| {
        let rule = "a whole number above 0 and one of the units `ms`, `s`, `m` and `h`, as in \"30s\"";
        Error::new(word.span(), format!("{text:?} is no time to live, which is {rule}"))
    })
}

fn emits(meta: &ParseNestedMeta<'_>) -> Result<Vec<LitStr>> {
    const WHAT: &str = "topics in parentheses, as in `emits(\"order.shipped\", \"stock.reserved\")`";
    if !meta.input.peek(Paren) {
        return Err(meta.error(format!("it needs {WHAT}")));
    }
    let names;
    parenthesized!(names in meta.input);
    let names = Punctuated::<LitStr, Token![,]>::parse_terminated(&names)
        .map_err(|error| Error::new(error.span(), format!("these should be {WHAT}")))?;
    names.into_iter().map(checked_topic).collect()
}

fn check_key(key: &Member, data: &Data) -> Result<()> {
    let Data::Struct(data) = data else {
        return Err(Error::new(key.span(), "`key` names a field of a struct; this is none"));
    };
    if data.fields.members().any(|member| member == *key) {
        return Ok(());
    }
    let known: Vec<_> = match &data.fields {
        Fields::Named(fields) => {
            fields.named.iter().filter_map(|field| Some(field.ident.as_ref()?.to_string())).collect()
        }
        Fields::Unnamed(fields) => (0..fields.unnamed.len()).map(|index| index.to_string()).collect(),
        Fields::Unit => Vec::new(),
    };
    let known = match known.as_slice() {
        [] => "the struct has none".to_owned(),
        known => format!("there are `{}`", known.join("`, `")),
    };
    Err(Error::new(key.span(), format!("`key` names no field; {known}")))
}
