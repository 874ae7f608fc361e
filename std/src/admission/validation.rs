//! What an event must be like before anybody may see it: its name, its source, its payload, and rules of a user's own.

pub(crate) mod caught;
pub(crate) mod draft;
mod gauge;

use std::fmt;
use std::sync::Arc;

use nervebus_core::{Pattern, Topic};
use serde_json::Value;

use self::caught::caught;
use self::draft::Draft;
use self::gauge::{Gauge, Reading};
use crate::admission::name::NameRule;
use crate::error::{BuildError, ValidationIssue, ValidationReport};
use crate::range;

const MAX_BYTES: u64 = 1 << 30;
const MAX_NESTING: u64 = 1_000;

/// The domain of the bus's own events.
const SYSTEM: &str = "system";

/// A rule of a user's own.
type Check = Arc<dyn Fn(&Draft<'_>) -> Result<(), String> + Send + Sync>;

/// Who is told of what was found.
type Listener = Arc<dyn Fn(&Draft<'_>, &ValidationReport) + Send + Sync>;

/// What events must be like; for [`Builder::validate`](crate::Builder::validate).
///
/// An event that breaks a rule is refused: [`EmitError::Invalid`](crate::EmitError::Invalid) gives its payload back with a
/// [report](ValidationReport), no handler and no audit log sees it, and it is counted as refused. All rules are held against
/// it, so that the report is complete; [`fail_fast`](Self::fail_fast) ends at the first that is broken.
///
/// The order: the name, its domain, the source, the size and nesting of the payload, its required fields, and the rules of a
/// user's own as they were given. A payload that is too large, nested too deep or cannot be written as JSON is not looked into:
/// then the rules behind that are left out.
///
/// The bus's own events are exempt, and so are replayed ones and dead letters that go back to their handlers: they were
/// checked when they were first emitted.
///
/// # Cost
///
/// On a bus with rules every emit takes the general way. Which rules there are for a topic's name is found when that is first
/// used. A limit on size or nesting writes the payload as JSON to nowhere: no allocation. A required field, and a rule that asks
/// for it, makes the JSON view of the payload before its handlers may want it. What is valid allocates nothing else.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, EmitError, Reason, Validation, json};
///
/// let rules = Validation::new()
///     .domains(["order", "user"])
///     .require("order.*", "customer.id")
///     .max_payload_bytes(64 << 10)
///     .max_nesting(16)
///     .rule("positive_amount", |event| match event["cents"].as_i64() {
///         Some(cents) if cents <= 0 => Err("an amount is more than nothing".into()),
///         _ => Ok(()),
///     })
///     .dead_letter();
/// let bus = Bus::builder().validate(rules).build()?;
///
/// bus.emit("order.placed", json!({"customer": {"id": 7}, "cents": 1999}))?;
/// let refused = bus.emit("order.placed", json!({"cents": 0})).unwrap_err();
/// let EmitError::Invalid { report, payload } = refused else { panic!("another error") };
/// assert_eq!((report.errors.len(), &payload["cents"]), (2, &json!(0)));
/// assert_eq!(bus.dead_letters().list()[0].reason, Reason::ValidationError);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "rules do nothing until a builder takes them"]
pub struct Validation {
    names: NameRule,
    domains: Option<Vec<String>>,
    allows_system: bool,
    needs_source: bool,
    max_bytes: Option<usize>,
    max_nesting: Option<usize>,
    required: Vec<Required>,
    own: Vec<Own>,
    listener: Option<Listener>,
    ends_early: bool,
    pub(crate) buries: bool,
}

/// A field that the payloads of some topics must have.
#[derive(Debug, Clone)]
struct Required {
    pattern: String,
    path: String,
}

#[derive(Clone)]
struct Own {
    name: String,
    warns: bool,
    check: Check,
}

/// What is known of a topic by its name alone.
#[derive(Debug)]
pub(crate) struct TopicRules {
    /// What is wrong with the name.
    naming: Box<[ValidationIssue]>,
    /// The places, among all rules for required fields, of those for this topic.
    required: Box<[usize]>,
}

impl TopicRules {
    /// Whether the name itself is refused.
    pub(crate) fn refuse_name(&self) -> bool {
        !self.naming.is_empty()
    }
}

/// The errors and warnings so far.
struct Findings<'a> {
    rules: &'a Validation,
    report: ValidationReport,
}

impl Findings<'_> {
    fn error(&mut self, issue: ValidationIssue) {
        self.report.errors.push(issue);
    }

    /// Whether nothing more is to be looked for.
    fn are_enough(&self) -> bool {
        self.rules.ends_early && !self.report.errors.is_empty()
    }
}

impl Default for Validation {
    fn default() -> Self {
        Self::new()
    }
}

impl Validation {
    /// Names must keep to [`NameRule::Strict`] and stay out of the domain `system`; anything else goes.
    pub const fn new() -> Self {
        Self {
            names: NameRule::Strict,
            domains: None,
            allows_system: false,
            needs_source: false,
            max_bytes: None,
            max_nesting: None,
            required: Vec::new(),
            own: Vec::new(),
            listener: None,
            ends_early: false,
            buries: false,
        }
    }

    /// What names must look like. Default: [`NameRule::Strict`]. With [`NameRule::Lenient`] every name goes that a bus can
    /// have at all. A bus whose [builder](crate::Builder::names) says more holds names to that as well, before it looks at
    /// anything else.
    pub fn names(mut self, rule: NameRule) -> Self {
        self.names = rule;
        self
    }

    /// The domains that events may be of: the first segments of their names. Called again, it allows more. Default: all but
    /// `system`. A bus for which no domain at all was named is not built.
    pub fn domains<D: Into<String>>(mut self, domains: impl IntoIterator<Item = D>) -> Self {
        self.domains.get_or_insert_default().extend(domains.into_iter().map(Into::into));
        self
    }

    /// Lets others than the bus emit in the domain `system`. Default: they may not.
    pub fn allow_system(mut self) -> Self {
        self.allows_system = true;
        self
    }

    /// Every event must say who [emits](crate::Emission::source) it. Default: it need not. Then [`Bus::emit`](crate::Bus::emit)
    /// and its like, which cannot say it, are refused.
    pub fn require_source(mut self) -> Self {
        self.needs_source = true;
        self
    }

    /// How many bytes a payload may have as JSON, personal data included. Default: no limit. Range: 1 to 1,073,741,824.
    pub fn max_payload_bytes(mut self, limit: usize) -> Self {
        self.max_bytes = Some(limit);
        self
    }

    /// How deep arrays and objects may lie inside each other in a payload: `7` is 0 deep, `{"a": [7]}` is 2. Default: no
    /// limit. Range: 0 to 1,000.
    pub fn max_nesting(mut self, limit: usize) -> Self {
        self.max_nesting = Some(limit);
        self
    }

    /// The payloads of topics that the pattern matches must have this field, and it may not be `null`. Called again, it
    /// requires more; each rule whose pattern matches counts.
    ///
    /// The path leads through objects by keys and through arrays by numbers, with dots between (`customer.id`,
    /// `items.0.sku`). One that begins with `/` is a JSON Pointer (RFC 6901), for keys that have dots.
    pub fn require(mut self, pattern: impl Into<String>, path: impl Into<String>) -> Self {
        self.required.push(Required { pattern: pattern.into(), path: path.into() });
        self
    }

    /// A rule of your own: what it says is an error of this name. It runs on emitters' threads for each event, should be
    /// quick, and may not emit on the same bus. A rule that panics refuses the event, and the report says so.
    pub fn rule<F>(self, name: impl Into<String>, check: F) -> Self
    where
        F: Fn(&Draft<'_>) -> Result<(), String> + Send + Sync + 'static,
    {
        self.own(name.into(), false, Arc::new(check))
    }

    /// As [`rule`](Self::rule), but what it says is a warning: the event goes on. [`Bus::validate`](crate::Bus::validate) shows
    /// warnings, [`GuardStats`](crate::GuardStats) counts events that have some, and [`on_report`](Self::on_report) is told.
    pub fn warn<F>(self, name: impl Into<String>, check: F) -> Self
    where
        F: Fn(&Draft<'_>) -> Result<(), String> + Send + Sync + 'static,
    {
        self.own(name.into(), true, Arc::new(check))
    }

    fn own(mut self, name: String, warns: bool, check: Check) -> Self {
        self.own.push(Own { name, warns, check });
        self
    }

    /// Called with each emitted event of which there is something to say, errors or warnings, on its emitter's thread; it may
    /// not emit on the same bus. A panic in it goes no further. Called again, it replaces the first. Default: nobody.
    pub fn on_report<F>(mut self, listener: F) -> Self
    where
        F: Fn(&Draft<'_>, &ValidationReport) + Send + Sync + 'static,
    {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Ends at the first error, so that the report has one. Default: all rules are held against each event.
    pub fn fail_fast(mut self) -> Self {
        self.ends_early = true;
        self
    }

    /// Keeps events that are refused as dead letters, with the reason
    /// [`ValidationError`](crate::Reason::ValidationError) and `validation` in the handler's place. Default: they are not kept.
    ///
    /// The letter has the payload as JSON, as records see it, for the value itself goes back to the emitter; a payload that is
    /// too large, nested too deep or cannot be written is `null` in it. It reached no handler, so there is none that it could
    /// be sent back to.
    pub fn dead_letter(mut self) -> Self {
        self.buries = true;
        self
    }

    /// Checks what was set.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let setting =
            |what: &str, rule| Err(BuildError::InvalidSetting { setting: format!("validation.{what}"), rule });
        let size = |limit: Option<usize>| limit.map_or(1, |limit| limit as u64);
        range::number(|| "validation.max_payload_bytes".into(), size(self.max_bytes), 1, MAX_BYTES)?;
        range::number(|| "validation.max_nesting".into(), size(self.max_nesting), 0, MAX_NESTING)?;
        if self.domains.as_ref().is_some_and(Vec::is_empty) {
            return setting("domains", "no domain is named, and every event would be refused".into());
        }
        for domain in self.domains.iter().flatten() {
            if Topic::new(domain).is_err() || domain.contains('.') {
                return setting("domains", format!("{domain:?} is no domain, which is one segment of a name"));
            }
        }
        for Required { pattern, path } in &self.required {
            Pattern::new(pattern)
                .map_err(|error| BuildError::Pattern { field: "validation.require".into(), rule: error.to_string() })?;
            if path.starts_with('/') {
                if has_wrong_escape(path) {
                    return setting(
                        "require",
                        format!("{path:?} is no JSON Pointer: '~' is written '~0', and '/' '~1'"),
                    );
                }
            } else if path.split('.').any(str::is_empty) {
                return setting("require", format!("{path:?} is no path, which is keys with dots between"));
            }
        }
        Ok(())
    }

    /// What there is to hold against the events of a topic of this name.
    pub(crate) fn for_topic(&self, name: &str) -> TopicRules {
        let asks = |pattern: &str| {
            let (pattern, topic) = (Pattern::new(pattern).ok(), Topic::new(name).ok());
            pattern.zip(topic).is_some_and(|(pattern, topic)| pattern.matches(topic))
        };
        let required = self.required.iter().enumerate().filter(|(_, rule)| asks(&rule.pattern));
        TopicRules { naming: self.naming(name).into(), required: required.map(|(place, _)| place).collect() }
    }

    fn naming(&self, name: &str) -> Vec<ValidationIssue> {
        let mut found = Vec::new();
        if let Err(rule) = self.names.check(name) {
            found.push(ValidationIssue::new("name", &rule));
        }
        let domain = name.split_once('.').map_or(name, |(domain, _)| domain);
        if domain == SYSTEM && !self.allows_system {
            found.push(ValidationIssue::new("domain", "it is the bus's own").value(domain));
        } else if let Some(allowed) = &self.domains
            && !allowed.iter().any(|one| one == domain)
        {
            found.push(ValidationIssue::new("domain", &format!("there are {}", allowed.join(", "))).value(domain));
        }
        found
    }

    /// Holds an event against all rules. Whatever of the user's panics is a finding.
    pub(crate) fn judge(&self, topic: &TopicRules, draft: &Draft<'_>) -> ValidationReport {
        let mut found = Findings { rules: self, report: ValidationReport::default() };
        let naming = if self.ends_early { topic.naming.get(..1).unwrap_or_default() } else { &topic.naming };
        naming.iter().for_each(|issue| found.error(issue.clone()));
        if !found.are_enough() && self.needs_source && draft.source().is_none_or(str::is_empty) {
            found.error(ValidationIssue::new("source", "it does not say who emits it"));
        }
        if !found.are_enough() && self.measure(draft, &mut found) && !found.are_enough() {
            self.look_inside(topic, draft, &mut found);
        }
        found.report
    }

    /// Looks at the size and nesting of the payload; says whether the rules may look into it.
    fn measure(&self, draft: &Draft<'_>, found: &mut Findings<'_>) -> bool {
        if self.max_bytes.is_none() && self.max_nesting.is_none() {
            return true;
        }
        let mut gauge = Gauge::new(self.max_bytes, self.max_nesting);
        let written = caught(|| draft.write(&mut gauge));
        let Reading { is_large, is_deep } = gauge.read();
        if let Some(limit) = self.max_bytes.filter(|_| is_large) {
            found.error(ValidationIssue::new("payload_size", &format!("it has more than {limit} bytes as JSON")));
        }
        if let Some(limit) = self.max_nesting.filter(|_| is_deep && !found.are_enough()) {
            found.error(ValidationIssue::new("payload_nesting", &format!("it is nested more than {limit} deep")));
        }
        match written {
            _ if is_large || is_deep => return false,
            Ok(Ok(())) => return true,
            Ok(Err(_)) => found.error(ValidationIssue::new("payload", "it cannot be written as JSON")),
            Err(panic) => found.error(ValidationIssue::new("payload", &format!("its `Serialize` panicked: {panic}"))),
        }
        false
    }

    /// Looks for required fields, and asks the user's own rules.
    fn look_inside(&self, topic: &TopicRules, draft: &Draft<'_>, found: &mut Findings<'_>) {
        if !topic.required.is_empty()
            && let Err(panic) = caught(|| _ = draft.payload())
        {
            return found.error(ValidationIssue::new("payload", &format!("its `Serialize` panicked: {panic}")));
        }
        for Required { path, .. } in topic.required.iter().filter_map(|place| self.required.get(*place)) {
            if lookup(draft.payload(), path).is_none_or(Value::is_null) {
                found.error(ValidationIssue::new("required_field", "it is missing or null").field(path));
            }
            if found.are_enough() {
                return;
            }
        }
        for Own { name, warns, check } in &self.own {
            let message = match caught(|| check(draft)) {
                Ok(Ok(())) => continue,
                Ok(Err(message)) => message,
                Err(panic) => format!("the rule panicked: {panic}"),
            };
            let issue = ValidationIssue::new(name, &message);
            if *warns {
                found.report.warnings.push(issue)
            } else {
                found.error(issue)
            }
            if found.are_enough() {
                return;
            }
        }
    }

    /// Tells whoever wants to know what was found.
    pub(crate) fn tell(&self, draft: &Draft<'_>, report: &ValidationReport) {
        if let Some(listener) = &self.listener {
            let _ = caught(|| listener(draft, report));
        }
    }
}

/// Whether a JSON Pointer has a `~` that stands for nothing: no key would ever match it.
fn has_wrong_escape(path: &str) -> bool {
    path.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1']))
}

/// What a path leads to.
fn lookup<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    if path.starts_with('/') {
        return value.pointer(path);
    }
    path.split('.').try_fold(value, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        other => other.get(key),
    })
}

impl fmt::Debug for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validation")
            .field("names", &self.names)
            .field("domains", &self.domains)
            .field("max_bytes", &self.max_bytes)
            .field("max_nesting", &self.max_nesting)
            .field("required", &self.required)
            .field("own", &self.own.iter().map(|own| &*own.name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
