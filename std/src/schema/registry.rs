//! The JSON Schemas of topics, version by version.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use nervebus_core::Topic;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::change::Breaking;
use super::compatibility::{Compatibility, ContentModel};
use super::contract::{Contract, ContractError, TopicContract};
use super::upcast::{UpcastError, Upcasters};
use super::validator::{Flaw, Validator};
use crate::error::SchemaMismatch;
use crate::typed_event::TypedEvent;

/// The compiled schemas of one topic.
pub(super) type Versions = BTreeMap<u32, Arc<Validator>>;

/// The JSON Schemas of topics, version by version: made from types, given as JSON, or read from files; with what brings
/// payloads of old versions to new ones.
///
/// A version that is registered is held against those that are there, by the topic's [`Compatibility`]; what breaks is an
/// error that names it, and nothing is registered. A bus gets it by [`Builder::schemas`](crate::Builder::schemas);
/// [`contract`](Self::contract) is what can be written down and compared.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, Event, SchemaCheck, SchemaRegistry, json};
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize, JsonSchema)]
/// #[event(topic = "order.placed", version = 2)]
/// struct OrderPlaced {
///     id: u64,
///     cents: u64,
/// }
///
/// let mut schemas = SchemaRegistry::new();
/// let amount = json!({"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]});
/// schemas.register_schema("order.placed", 1, amount)?;
/// // Version 2 could not read version 1, had it not this.
/// schemas.upcaster("order.placed", 1, |old| {
///     let cents = old["amount"].as_f64().ok_or("an order without an amount")? * 100.0;
///     Ok(json!({"id": 0, "cents": cents.round() as u64}))
/// })?;
/// schemas.register::<OrderPlaced>()?;
///
/// let bus = Bus::builder().schemas(schemas, SchemaCheck::AtEmit).build()?;
/// let orders = bus.topic::<OrderPlaced>()?;
/// orders.on().inline().handle(|order, _| assert_eq!(order.cents, 1999))?;
/// let receipt = bus.event("order.placed", json!({"amount": 19.99})).emit()?; // version 1
/// assert_eq!(receipt.inline().handled, 1);
/// let error = bus.event("order.placed", json!({"amount": "19.99"})).emit().unwrap_err();
/// assert!(error.to_string().contains("/amount: type: \"number\""), "{error}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct SchemaRegistry {
    contract: Contract,
    model: ContentModel,
    validators: BTreeMap<String, Versions>,
    upcasters: Upcasters,
}

/// Why something was not registered. Nothing changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum SchemaError {
    /// The topic's name breaks a rule.
    Topic {
        /// Which rule, and where.
        rule: String,
    },
    /// Versions begin with 1.
    Version {
        /// The topic.
        topic: String,
    },
    /// It is no JSON Schema, or one that refers to other documents.
    Schema {
        /// The topic.
        topic: String,
        /// The version.
        version: u32,
        /// Where in the schema, as a JSON pointer.
        path: String,
        /// Which rule it breaks.
        rule: String,
    },
    /// The version has another schema already.
    Taken {
        /// The topic.
        topic: String,
        /// The version.
        version: u32,
    },
    /// It would break those who rely on another version.
    Breaking {
        /// The topic.
        topic: String,
        /// The version that was to be registered.
        version: u32,
        /// The version whose readers or writers would be hurt.
        against: u32,
        /// What the topic's versions are held to.
        mode: Compatibility,
        /// All that breaks.
        changes: Vec<Breaking>,
    },
    /// There is an upcaster from this version already, or a gap between upcasters.
    Upcaster {
        /// The topic.
        topic: String,
        /// The version.
        from: u32,
        /// What is wrong.
        rule: String,
    },
    /// A file cannot be read.
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file is no JSON.
    Json {
        /// Which one.
        path: PathBuf,
        /// Where, and what is wrong.
        rule: String,
    },
    /// A file's name does not say which topic's schema it has.
    FileName {
        /// Which one.
        path: PathBuf,
        /// What it should look like.
        rule: String,
    },
    /// A file that has a contract, of which some part is not as it should be.
    Contract {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        error: ContractError,
    },
    /// What a file has was not registered.
    InFile {
        /// Which one.
        path: PathBuf,
        /// Why not.
        error: Box<SchemaError>,
    },
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic { rule } => f.write_str(rule),
            Self::Version { topic } => write!(f, "{topic:?}: versions begin with 1"),
            Self::Schema { topic, version, path, rule } => {
                let path = if path.is_empty() { "/" } else { path };
                write!(f, "the schema of {topic:?}, version {version}, is none: {path}: {rule}")
            }
            Self::Taken { topic, version } => {
                write!(f, "{topic:?} has another schema of version {version}: a new shape is a new version")
            }
            Self::Breaking { topic, version, against, mode, changes } => {
                write!(f, "version {version} of {topic:?} is not {mode} compatible with version {against}")?;
                changes.iter().try_for_each(|change| write!(f, "; {change}"))
            }
            Self::Upcaster { topic, from, rule } => write!(f, "the upcaster of {topic:?} from version {from}: {rule}"),
            Self::File { path, error } => write!(f, "cannot read {path:?}: {error}"),
            Self::Json { path, rule } | Self::FileName { path, rule } => write!(f, "{path:?}: {rule}"),
            Self::Contract { path, error } => write!(f, "{path:?}: {error}"),
            Self::InFile { path, error } => write!(f, "{path:?}: {error}"),
        }
    }
}

impl Error for SchemaError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::File { error, .. } => Some(error),
            Self::Contract { error, .. } => Some(error),
            Self::InFile { error, .. } => Some(&**error),
            _ => None,
        }
    }
}

impl SchemaRegistry {
    /// A registry without schemas, whose topics are to stay [backward compatible](Compatibility::Backward).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What topics are held to that do not say. Default: [`Compatibility::Backward`].
    #[must_use]
    pub fn compatibility(mut self, mode: Compatibility) -> Self {
        self.contract.compatibility = mode;
        self
    }

    /// What values may have beyond what their schemas name. Default: [`ContentModel::Named`].
    #[must_use]
    pub fn content_model(mut self, model: ContentModel) -> Self {
        self.model = model;
        self
    }

    /// What one topic is held to from now on; what is registered already stays.
    ///
    /// # Errors
    ///
    /// [`SchemaError::Topic`].
    pub fn topic_compatibility(&mut self, topic: &str, mode: Compatibility) -> Result<&mut Self, SchemaError> {
        self.topic(topic)?.compatibility = Some(mode);
        Ok(self)
    }

    /// Registers the schema of a type, as its `Deserialize` reads it, under its topic and version, with what else the type
    /// says of its events. So an `Option` may be missing, and so may what has a `#[serde(default)]`: such a field can be added
    /// and stay backward compatible. The type needs `#[derive(JsonSchema)]` from schemars 1: from a
    /// dependency of your own, or as `nervebus::schemars::JsonSchema` with `#[schemars(crate = "nervebus::schemars")]`.
    ///
    /// A type with `#[serde(deny_unknown_fields)]` has a closed schema: a field can then be added only as a new version with
    /// an upcaster.
    ///
    /// # Errors
    ///
    /// As [`register_schema`](Self::register_schema).
    pub fn register<T: TypedEvent + JsonSchema>(&mut self) -> Result<&mut Self, SchemaError> {
        let generator = SchemaSettings::draft2020_12().into_generator();
        self.register_schema(T::TOPIC, T::VERSION, generator.into_root_schema_for::<T>().into())?;
        let topic = self.topic(T::TOPIC)?;
        topic.category = T::CATEGORY;
        topic.key = T::KEY.map(str::to_owned).or(topic.key.take());
        topic.emits = T::EMITS.iter().map(|name| (*name).to_owned()).collect();
        topic.pii = T::PII.iter().map(|name| (*name).to_owned()).collect();
        Ok(self)
    }

    /// Registers the schema of one version of a topic's payload. Registering it once more changes nothing.
    ///
    /// A draft other than 2020-12 is named by `$schema`. References lead to places within the schema. `format` is a remark,
    /// as JSON Schema has it. Patterns have neither look-around nor back references: each runs in linear time.
    ///
    /// It is held against the versions before and after it or, by a transitive mode, against all. An upcaster to a version,
    /// or a chain of them, makes up for backward compatibility: register it first.
    ///
    /// # Errors
    ///
    /// [`SchemaError::Topic`], [`Version`](SchemaError::Version), [`Schema`](SchemaError::Schema),
    /// [`Taken`](SchemaError::Taken), [`Breaking`](SchemaError::Breaking).
    pub fn register_schema(&mut self, topic: &str, version: u32, schema: Value) -> Result<&mut Self, SchemaError> {
        checked(topic)?;
        if version == 0 {
            return Err(SchemaError::Version { topic: topic.into() });
        }
        let flawed = |Flaw { path, rule }| SchemaError::Schema { topic: topic.into(), version, path, rule };
        let validator = Validator::new(&schema).map_err(flawed)?;
        if let Some(known) = self.contract.topics.get(topic) {
            if let Some(there) = known.versions.get(&version) {
                let taken = || SchemaError::Taken { topic: topic.into(), version };
                return if *there == schema { Ok(self) } else { Err(taken()) };
            }
            self.may_join(topic, known, version, &schema)?;
        }
        self.validators.entry(topic.into()).or_default().insert(version, Arc::new(validator));
        self.topic(topic)?.versions.insert(version, schema);
        Ok(self)
    }

    /// Whether a version is compatible with those that are there.
    fn may_join(&self, topic: &str, known: &TopicContract, version: u32, schema: &Value) -> Result<(), SchemaError> {
        let mode = self.contract.mode_of(topic);
        let before = known.versions.range(..version).rev();
        let after = known.versions.range(version..);
        let reach = if mode.is_transitive() { usize::MAX } else { 1 };
        for (against, other) in before.take(reach).chain(after.take(reach)) {
            let (old, new, from, to) = if *against < version {
                (other, schema, *against, version)
            } else {
                (schema, other, version, *against)
            };
            let upcast = known.leads(from, to);
            let changes = mode.breaking(old, new, self.model).into_iter();
            let changes: Vec<_> = changes.filter(|change| !(upcast && change.is_backward())).collect();
            if !changes.is_empty() {
                return Err(SchemaError::Breaking { topic: topic.into(), version, against: *against, mode, changes });
            }
        }
        Ok(())
    }

    /// Registers what makes a payload of one version into one of the next: of version 1 into one of version 2, and so on.
    ///
    /// A typed topic's handlers get events of earlier versions through all upcasters that lead to their type's version, be
    /// they emitted now, replayed, or retried; what an upcaster refuses is a failure that is not tried again. Subscribers
    /// that see an event as JSON see it as it was emitted. Whoever takes events elsewhere, as a bridge does, calls
    /// [`upcast`](Self::upcast).
    ///
    /// A panic in it is a failure of the handler that it was called for.
    ///
    /// # Errors
    ///
    /// [`SchemaError::Topic`], [`Version`](SchemaError::Version); [`Upcaster`](SchemaError::Upcaster) if there is one from
    /// this version. Gaps between upcasters are found when the bus is built.
    pub fn upcaster<F>(&mut self, topic: &str, from: u32, step: F) -> Result<&mut Self, SchemaError>
    where
        F: Fn(Value) -> Result<Value, String> + Send + Sync + 'static,
    {
        if from == 0 {
            return Err(SchemaError::Version { topic: topic.into() });
        }
        self.topic(topic)?.upcasts.insert(from);
        if self.upcasters.add(topic, from, Arc::new(step)) {
            return Ok(self);
        }
        Err(SchemaError::Upcaster { topic: topic.into(), from, rule: "there is one already".into() })
    }

    /// The payload of an old version in the shape of the topic's latest one, and which that is. The latest is that of the
    /// schemas or of the upcasters, whichever leads further; a topic without upcasters is left as it is, and so is a
    /// payload of a version that is later still.
    ///
    /// # Errors
    ///
    /// [`UpcastError`].
    ///
    /// # Panics
    ///
    /// If an upcaster does.
    pub fn upcast(&self, topic: &str, from: u32, payload: Value) -> Result<(u32, Value), UpcastError> {
        let known = self.contract.topics.get(topic);
        let latest = known.and_then(TopicContract::latest).map(|(version, _)| version);
        let made = known.and_then(|topic| topic.upcasts.last()).map(|last| last.saturating_add(1));
        match made {
            None => Ok((from, payload)),
            Some(made) => {
                let to = latest.unwrap_or(0).max(made).max(from);
                self.upcast_to(topic, from, to, payload).map(|payload| (to, payload))
            }
        }
    }

    /// The payload of one version in the shape of a later one.
    ///
    /// # Errors
    ///
    /// [`UpcastError`].
    ///
    /// # Panics
    ///
    /// If an upcaster does.
    pub fn upcast_to(&self, topic: &str, from: u32, to: u32, payload: Value) -> Result<Value, UpcastError> {
        self.upcasters.apply(topic, from, to, payload)
    }

    /// Whether a payload fits the schema of its topic and version. One whose topic has no schema does.
    ///
    /// # Errors
    ///
    /// [`SchemaMismatch`]: the first place that does not fit, or that there is no schema of this version.
    pub fn validate(&self, topic: &str, version: u32, payload: &Value) -> Result<(), Box<SchemaMismatch>> {
        let Some(versions) = self.validators(topic) else { return Ok(()) };
        self.check(versions, topic, version, payload, || payload)
    }

    /// All that is registered, as a document that can be compared with others.
    #[must_use]
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// See [`Contract::to_json`].
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.contract.to_json()
    }

    /// See [`Contract::to_asyncapi`].
    #[must_use]
    pub fn to_asyncapi(&self, title: &str, version: &str) -> Value {
        self.contract.to_asyncapi(title, version)
    }

    pub(super) fn validators(&self, topic: &str) -> Option<&Versions> {
        self.validators.get(topic)
    }

    pub(super) fn check<'v>(
        &self,
        versions: &Versions,
        topic: &str,
        version: u32,
        payload: &Value,
        shown: impl FnOnce() -> &'v Value,
    ) -> Result<(), Box<SchemaMismatch>> {
        if let Some(validator) = versions.get(&version) {
            return validator.check(topic, version, payload, shown);
        }
        let rule = format!("there is no schema of this version, only of {:?}", versions.keys().collect::<Vec<_>>());
        Err(Box::new(SchemaMismatch {
            topic: topic.into(),
            version,
            assumed: false,
            path: String::new(),
            rule,
            value: None,
        }))
    }

    /// Whether there is an upcaster from this version.
    pub(super) fn begins(&self, topic: &str, from: u32) -> bool {
        self.contract.topics.get(topic).is_some_and(|topic| topic.upcasts.contains(&from))
    }

    /// What would go wrong on a bus.
    pub(crate) fn complete(&self) -> Result<(), SchemaError> {
        for topic in self.upcasters.topics() {
            let latest =
                self.contract.topics.get(topic).and_then(TopicContract::latest).map_or(0, |(version, _)| version);
            if let Some(from) = self.upcasters.gap(topic, latest) {
                let rule = "it is missing, and those before it lead nowhere".into();
                return Err(SchemaError::Upcaster { topic: topic.into(), from, rule });
            }
        }
        Ok(())
    }

    pub(super) fn topic(&mut self, name: &str) -> Result<&mut TopicContract, SchemaError> {
        checked(name)?;
        Ok(self.contract.topics.entry(name.to_owned()).or_default())
    }
}

fn checked(topic: &str) -> Result<(), SchemaError> {
    Topic::new(topic).map(drop).map_err(|error| SchemaError::Topic { rule: error.to_string() })
}
