//! What a set of topics promises, as a document.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::change::{Breaking, Change, Direction};
use super::compatibility::{Compatibility, ContentModel};
use crate::typed_event::Category;

/// The key by which a contract is known, and the version of its form.
const FORM: (&str, u64) = ("nervebus_contract", 1);

/// What a set of topics promises: of each its category, its key, what its handlers emit, and the JSON Schema of each version
/// of its payload. A `SchemaRegistry` (feature `schema`) makes one and writes it down; this reads and compares them, and
/// needs no feature.
///
/// ```json
/// {
///   "nervebus_contract": 1,
///   "compatibility": "backward",
///   "topics": {
///     "order.placed": {
///       "category": "event",
///       "emits": ["order.shipped"],
///       "upcasts": [1],
///       "versions": { "1": { "type": "object" }, "2": { "type": "object", "required": ["id"] } }
///     }
///   }
/// }
/// ```
///
/// Of a topic, only `versions` must be there; what does not say its compatibility is `backward` compatible. Keys that are not known are an error, so that a misspelt one is.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Contract {
    /// What topics go by that do not say.
    pub compatibility: Compatibility,
    /// The topics by name.
    pub topics: BTreeMap<String, TopicContract>,
}

/// What one topic promises.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct TopicContract {
    /// What its events are for.
    pub category: Category,
    /// The name of the field that its events stay in order by, if it was said.
    pub key: Option<String>,
    /// The topics that its handlers emit on.
    pub emits: Vec<String>,
    /// The fields that are personal data.
    pub pii: Vec<String>,
    /// How its versions may change; `None` for what the contract says.
    pub compatibility: Option<Compatibility>,
    /// The versions from which there is an upcaster to the next one.
    pub upcasts: BTreeSet<u32>,
    /// The JSON Schema of each version.
    pub versions: BTreeMap<u32, Value>,
}

/// A document that is no contract: which part of it breaks which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContractError {
    /// Where in the document, as a JSON pointer; empty for the document itself.
    pub path: String,
    /// Which rule it breaks.
    pub rule: String,
}

impl fmt::Display for ContractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        write!(f, "{path}: {}", self.rule)
    }
}

impl Error for ContractError {}

/// What changed about one topic for the worse.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TopicBreaking {
    /// Which topic.
    pub topic: String,
    /// The version in the old contract, and the one in the new that it is held against; `None` for what concerns no version.
    pub versions: Option<(u32, u32)>,
    /// What changed.
    pub breaking: Breaking,
}

impl fmt::Display for TopicBreaking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.versions {
            None => write!(f, "{} {}", self.topic, self.breaking),
            Some((old, new)) => write!(f, "{} v{old} -> v{new} {}", self.topic, self.breaking),
        }
    }
}

impl Contract {
    /// Reads a contract.
    ///
    /// Schemas are taken as they are; the feature `schema` checks them where they are registered.
    ///
    /// # Errors
    ///
    /// [`ContractError`]: which part is not as it should be.
    pub fn from_json(document: &Value) -> Result<Self, ContractError> {
        let fields = object(document, "")?;
        if fields.get(FORM.0).and_then(Value::as_u64) != Some(FORM.1) {
            return wrong("", format!("a contract has \"{}\": {}", FORM.0, FORM.1));
        }
        known(fields, &[FORM.0, "compatibility", "topics"], "")?;
        let compatibility = mode(fields, "")?.unwrap_or_default();
        let mut topics = BTreeMap::new();
        // Without topics, it would be compatible with everything.
        let Some(given) = fields.get("topics") else { return wrong("", "\"topics\" is missing".into()) };
        for (name, topic) in object(given, "/topics")? {
            let path = format!("/topics/{}", escaped(name));
            nervebus_core::Topic::new(name).or_else(|error| wrong(&path, error.to_string()))?;
            topics.insert(name.clone(), TopicContract::from_json(topic, &path)?);
        }
        Ok(Self { compatibility, topics })
    }

    /// Writes it: the same contract is the same text.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let topics: Map<_, _> = self.topics.iter().map(|(name, topic)| (name.clone(), topic.to_json())).collect();
        json!({ FORM.0: FORM.1, "compatibility": self.compatibility.as_str(), "topics": topics })
    }

    /// The mode that a topic goes by.
    #[must_use]
    pub fn mode_of(&self, topic: &str) -> Compatibility {
        self.topics.get(topic).and_then(|topic| topic.compatibility).unwrap_or(self.compatibility)
    }

    /// What breaks when this contract becomes `new`, topic by topic. `mode` is what all topics are held to; `None` for what
    /// this contract says, which is the one that was relied on.
    ///
    /// * A topic that is gone, and one whose category or key has changed, is a breaking change.
    /// * A version that both have must accept what it accepted; so must the latest version what the old latest did, unless
    ///   there are upcasters from the one to the other, which make up for the backward direction. With a transitive mode
    ///   each old version is held against the latest new one.
    /// * A version that is gone is a breaking change for whoever reads backward: its events may lie in logs.
    /// * A new topic, and what a topic emits, breaks nobody.
    ///
    /// # Cost
    ///
    /// That of [`Compatibility::breaking`] for each pair of versions.
    #[must_use]
    pub fn breaking(&self, new: &Self, mode: Option<Compatibility>, model: ContentModel) -> Vec<TopicBreaking> {
        let mut all = Vec::new();
        for (name, old) in &self.topics {
            let mode = mode.unwrap_or_else(|| self.mode_of(name));
            let Some(new) = new.topics.get(name) else {
                if mode != Compatibility::None {
                    all.push(whole(name, Change::TopicRemoved, "topics", None, None));
                }
                continue;
            };
            let mut found = old.breaking(name, new, mode, model);
            all.append(&mut found);
        }
        all
    }
}

impl FromStr for Contract {
    type Err = ContractError;

    fn from_str(text: &str) -> Result<Self, ContractError> {
        let document = text.parse::<Value>().or_else(|error| wrong("", format!("it is no JSON: {error}")))?;
        Self::from_json(&document)
    }
}

impl TopicContract {
    fn from_json(document: &Value, path: &str) -> Result<Self, ContractError> {
        let fields = object(document, path)?;
        known(fields, &["category", "key", "emits", "pii", "compatibility", "upcasts", "versions"], path)?;
        let mut versions = BTreeMap::new();
        let at = format!("{path}/versions");
        let Some(given) = fields.get("versions") else { return wrong(path, "\"versions\" is missing".into()) };
        for (version, schema) in object(given, &at)? {
            let number = version.parse::<u32>().ok().filter(|number| *number > 0 && number.to_string() == *version);
            let at = format!("{at}/{}", escaped(version));
            let Some(number) = number else { return wrong(&at, "a version is a whole number from 1 on".into()) };
            if !schema.is_object() && !schema.is_boolean() {
                return wrong(&at, "a schema is an object, `true` or `false`".into());
            }
            versions.insert(number, schema.clone());
        }
        let upcasts = list(fields, "upcasts", path, "versions", |value| u32::try_from(value.as_u64()?).ok())?;
        Ok(Self {
            category: category(fields, path)?,
            key: text(fields, "key", path)?,
            emits: list(fields, "emits", path, "texts", |value| value.as_str().map(str::to_owned))?,
            pii: list(fields, "pii", path, "texts", |value| value.as_str().map(str::to_owned))?,
            compatibility: mode(fields, path)?,
            upcasts: upcasts.into_iter().collect(),
            versions,
        })
    }

    fn to_json(&self) -> Value {
        let versions: Map<_, _> =
            self.versions.iter().map(|(version, schema)| (version.to_string(), schema.clone())).collect();
        let mut fields = Map::new();
        fields.insert("category".into(), self.category.as_str().into());
        let mut put = |name: &str, value: Option<Value>| value.and_then(|value| fields.insert(name.into(), value));
        put("key", self.key.clone().map(Value::from));
        put("compatibility", self.compatibility.map(|mode| mode.as_str().into()));
        put("emits", (!self.emits.is_empty()).then(|| json!(self.emits)));
        put("pii", (!self.pii.is_empty()).then(|| json!(self.pii)));
        put("upcasts", (!self.upcasts.is_empty()).then(|| json!(self.upcasts)));
        put("versions", Some(Value::Object(versions)));
        Value::Object(fields)
    }

    /// The latest version.
    #[must_use]
    pub fn latest(&self) -> Option<(u32, &Value)> {
        self.versions.last_key_value().map(|(version, schema)| (*version, schema))
    }

    /// Whether there are upcasters all the way.
    pub(crate) fn leads(&self, from: u32, to: u32) -> bool {
        from <= to && (from..to).all(|version| self.upcasts.contains(&version))
    }

    fn breaking(&self, name: &str, new: &Self, mode: Compatibility, model: ContentModel) -> Vec<TopicBreaking> {
        let mut all = Vec::new();
        if mode == Compatibility::None {
            return all;
        }
        if self.category != new.category {
            let (old, new) = (self.category.as_str(), new.category.as_str());
            all.push(whole(name, Change::CategoryChanged, "category", Some(old.into()), Some(new.into())));
        }
        if self.key != new.key {
            let (old, new) = (self.key.clone().map(Value::from), new.key.clone().map(Value::from));
            all.push(whole(name, Change::KeyChanged, "key", old, new));
        }
        let latest = new.latest();
        let (last, reads_old) = (self.latest(), mode.directions().contains(&Direction::Backward));
        for (version, old) in &self.versions {
            let same = new.versions.get(version).map(|schema| (*version, schema));
            if same.is_none() && reads_old {
                let gone = whole(name, Change::VersionRemoved, "versions", Some((*version).into()), None);
                all.push(TopicBreaking { versions: None, ..gone });
            }
            let is_last = mode.is_transitive() || last.is_some_and(|(last, _)| last == *version);
            let next = latest.filter(|(latest, _)| is_last && latest != version);
            for (against, schema) in same.into_iter().chain(next) {
                let found = mode.breaking(old, schema, model).into_iter();
                let upcast = against > *version && new.leads(*version, against);
                let found = found.filter(|breaking| !(upcast && breaking.is_backward()));
                let of = |breaking| TopicBreaking { topic: name.into(), versions: Some((*version, against)), breaking };
                all.extend(found.map(of));
            }
        }
        all
    }
}

/// What concerns a topic as a whole.
fn whole(topic: &str, change: Change, keyword: &str, old: Option<Value>, new: Option<Value>) -> TopicBreaking {
    let (path, keyword, direction) = (String::new(), keyword.into(), Direction::Backward);
    TopicBreaking {
        topic: topic.into(),
        versions: None,
        breaking: Breaking { path, change, direction, keyword, old, new },
    }
}

fn wrong<T>(path: &str, rule: String) -> Result<T, ContractError> {
    Err(ContractError { path: path.into(), rule })
}

/// A name within a JSON pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn object<'a>(value: &'a Value, path: &str) -> Result<&'a Map<String, Value>, ContractError> {
    value.as_object().map_or_else(|| wrong(path, "it is not an object".into()), Ok)
}

fn known(fields: &Map<String, Value>, names: &[&str], path: &str) -> Result<(), ContractError> {
    match fields.keys().find(|name| !names.contains(&&***name)) {
        None => Ok(()),
        Some(name) => wrong(&format!("{path}/{}", escaped(name)), format!("there are {}", names.join(", "))),
    }
}

fn text(fields: &Map<String, Value>, name: &str, path: &str) -> Result<Option<String>, ContractError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => wrong(&format!("{path}/{name}"), "it is not a text".into()),
    }
}

fn mode(fields: &Map<String, Value>, path: &str) -> Result<Option<Compatibility>, ContractError> {
    let named = text(fields, "compatibility", path)?.map(|name| name.parse::<Compatibility>());
    named.transpose().or_else(|error| wrong(&format!("{path}/compatibility"), error.to_string()))
}

fn category(fields: &Map<String, Value>, path: &str) -> Result<Category, ContractError> {
    let Some(name) = text(fields, "category", path)? else { return Ok(Category::default()) };
    let all = [Category::Event, Category::Command, Category::Intent];
    let found = all.into_iter().find(|category| category.as_str() == name);
    found.map_or_else(|| wrong(&format!("{path}/category"), "there are event, command and intent".into()), Ok)
}

fn list<T>(
    fields: &Map<String, Value>,
    name: &str,
    path: &str,
    of: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<T>, ContractError> {
    let values = fields.get(name).map(|values| values.as_array().and_then(|values| values.iter().map(read).collect()));
    match values {
        None => Ok(Vec::new()),
        Some(Some(values)) => Ok(values),
        Some(None) => wrong(&format!("{path}/{name}"), format!("it is not a list of {of}")),
    }
}
