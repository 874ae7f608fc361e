//! What refuses an event for what it is, and keeps it as a dead letter where that was asked for.

use std::sync::Arc;

use nervebus_core::Reason;

#[cfg(feature = "durable")]
use super::leave;
use super::{How, Refused};
use crate::admission::validation::caught::caught;
use crate::admission::validation::draft::{Draft, Said, Subject};
use crate::admission::validation::{TopicRules, Validation};
use crate::context::{self, Lineage};
use crate::delivery::count;
use crate::delivery::dead_letters::Obituary;
use crate::delivery::directory::TopicState;
use crate::delivery::engine::Engine;
#[cfg(feature = "durable")]
use crate::delivery::engine::Exit;
use crate::delivery::envelope::{Envelope, Head, Kept};
#[cfg(feature = "durable")]
use crate::error::EmitError;
use crate::error::{ValidationIssue, ValidationReport};
use crate::event::OwnedEvent;
use crate::payload::{Body, Payload};
#[cfg(feature = "durable")]
use crate::platform::place::place;

/// Findings after which the payload was not looked into, and is not kept.
const UNFIT: [&str; 3] = ["payload", "payload_size", "payload_nesting"];

impl Engine {
    /// The rules that this event is held against, if any.
    fn rules_for(&self, how: How<'_>) -> Option<&Validation> {
        let validation = self.guards.validation.as_deref()?;
        // What goes to the durable log was held against them before it took the log's order; an attempt that was taken back
        // has passed them.
        let is_exempt = how.is_system() || how.is_replayed() || how.order.is_some();
        let has_passed = how.extra.is_some_and(|extra| extra.admitted);
        (!is_exempt && !has_passed).then_some(validation)
    }

    /// Holds an event against the rules.
    pub(super) fn validate(&self, topic: &TopicState, envelope: &Envelope, how: How<'_>) -> Result<(), Refused> {
        match self.rules_for(how) {
            None => Ok(()),
            Some(validation) => {
                let rules = topic.guards.as_ref().and_then(|guards| guards.rules.as_ref());
                let subject = Subject::Content(envelope.body.content());
                self.hold_against(validation, rules, &topic.name, subject, how, || Some(envelope.head.seq))
            }
        }
    }

    /// Refuses an event whose topic is new and has a name that no event may have, so that it does not become known.
    pub(super) fn may_be_known<P: Payload>(
        &self,
        number: u64,
        name: &str,
        payload: &P,
        how: How<'_>,
    ) -> Result<(), Refused> {
        let Some(validation) = self.rules_for(how) else { return Ok(()) };
        let rules = validation.for_topic(name);
        if !rules.refuse_name() {
            return Ok(());
        }
        self.hold_against(validation, Some(&rules), name, Subject::value(payload), how, || Some(number))
    }

    /// Whether events of this name, which is not known yet, are refused for the name.
    pub(crate) fn refuses_new(&self, name: &str) -> bool {
        let Some(validation) = self.guards.validation.as_deref() else { return false };
        let is_new = self.directory.get(name).is_none() && self.names.check(name).is_ok();
        is_new && validation.for_topic(name).refuse_name()
    }

    /// Holds an event for the durable log against the rules, before it takes the log's order, for a user's code runs here.
    #[cfg(feature = "durable")]
    pub(super) fn validate_ahead<P: Payload>(
        &self,
        name: &str,
        topic: Option<&TopicState>,
        payload: P,
        how: How<'_>,
    ) -> Result<P, EmitError<P>> {
        let Some(validation) = self.rules_for(how) else { return Ok(payload) };
        let rules = topic.and_then(|topic| topic.guards.as_ref()?.rules.as_ref());
        let (place, mut pass) = (place(), None);
        // Only an event that is refused has a number of its own already.
        let number = || Some(pass.insert(self.gate.enter(place.stripe)?).number());
        let held = self.hold_against(validation, rules, name, Subject::value(&payload), how, number);
        match (held, pass) {
            (Ok(()), _) => Ok(payload),
            (Err(refused), Some(pass)) => {
                leave(pass, place, Exit::Refused);
                Err(refused.with(payload))
            }
            (Err(refused), None) => Err(refused.with(payload)),
        }
    }

    #[inline(never)]
    fn hold_against(
        &self,
        validation: &Validation,
        rules: Option<&TopicRules>,
        topic: &str,
        subject: Subject<'_>,
        how: How<'_>,
        number: impl FnOnce() -> Option<u64>,
    ) -> Result<(), Refused> {
        let lineage = lineage(how);
        let draft = Draft::new(topic, subject, said(how, lineage.as_deref()));
        let report = match rules {
            Some(rules) => validation.judge(rules, &draft),
            None => validation.judge(&validation.for_topic(topic), &draft),
        };
        if report.is_empty() {
            return Ok(());
        }
        let report = self.screened(report);
        if report.is_valid() {
            count::add(&self.guards.warned, 1);
            validation.tell(&draft, &report);
            return Ok(());
        }
        let Some(number) = number() else { return Err(Refused::Closed) };
        count::add(&self.guards.invalid, 1);
        validation.tell(&draft, &report);
        if validation.buries {
            self.bury_invalid(number, &draft, how, lineage.clone(), &report);
        }
        Err(Refused::Invalid(Box::new(report)))
    }

    /// Makes a dead letter of an event whose value goes back to its emitter.
    fn bury_invalid(
        &self,
        number: u64,
        draft: &Draft<'_>,
        how: How<'_>,
        lineage: Option<Arc<Lineage>>,
        report: &ValidationReport,
    ) {
        let mut head = Head::new(number);
        head.stamp(&self.clock);
        if let Some(extra) = how.extra {
            // Before what is inherited, which may be said in the same place.
            head.meta.clone_from(&extra.meta);
            head.set_class(extra.class);
        }
        // A chain that is too long is a refusal of its own, which comes first where there are handlers.
        let _ = self.inherit(&mut head, false);
        (head.key, head.lineage) = (how.key, lineage);
        keep_type(&mut head, draft);
        let is_unfit = report.errors.iter().any(|issue| UNFIT.contains(&&*issue.rule));
        // `Serialize` is the user's.
        let payload = if is_unfit { None } else { caught(|| draft.payload().clone()).ok() };
        let payload = payload.unwrap_or_default();
        let event = OwnedEvent(Arc::new(Kept::new(head, Body::new(payload), draft.topic(), self.bus)));
        let obituary = Obituary {
            reason: Reason::ValidationError,
            subscription: None,
            handler: "validation".into(),
            pattern: None,
            error: report.in_one_line(),
            attempts: 0,
        };
        self.dead_letters.push(event, obituary);
    }

    /// What would be found about an event that is emitted with nothing more to say.
    pub(crate) fn try_out<P: Payload>(&self, topic: &str, payload: &P) -> ValidationReport {
        if let Err(rule) = self.names.check(topic) {
            let mut report = ValidationReport::default();
            report.errors.push(ValidationIssue::new("name", &rule));
            return self.screened(report);
        }
        let Some(validation) = &self.guards.validation else { return ValidationReport::default() };
        let lineage = context::lineage();
        let draft = Draft::new(topic, Subject::value(payload), said(How::PLAIN, lineage.as_deref()));
        self.screened(validation.judge(&validation.for_topic(topic), &draft))
    }

    /// Has all texts pass the redactor that errors pass.
    fn screened(&self, mut report: ValidationReport) -> ValidationReport {
        for issue in report.issues_mut() {
            issue.message = self.screen.owned(std::mem::take(&mut issue.message));
            issue.value = issue.value.take().map(|value| self.screen.owned(value));
        }
        report
    }
}

/// Has an event say itself what its type said of it: the letter's payload is JSON, which says nothing.
fn keep_type(head: &mut Head, draft: &Draft<'_>) {
    let (version, ttl) = (draft.schema_version(), draft.ttl());
    if version.is_none() && ttl.is_none() {
        return;
    }
    let meta = Arc::make_mut(head.meta.get_or_insert_default());
    meta.schema_version = version;
    if let Some(ttl) = ttl {
        meta.headers.get_or_insert_default().ttl.get_or_insert(ttl);
    }
}

/// What the event hands down: given, or inherited.
fn lineage(how: How<'_>) -> Option<Arc<Lineage>> {
    how.extra.and_then(|extra| extra.lineage.clone()).or_else(context::lineage)
}

fn said<'a>(how: How<'a>, lineage: Option<&'a Lineage>) -> Said<'a> {
    let meta = how.extra.and_then(|extra| extra.meta.as_deref());
    Said {
        source: meta.and_then(|meta| meta.source.as_deref()),
        correlation_id: lineage.and_then(|lineage| lineage.correlation.as_deref()),
        event_id: meta.and_then(|meta| meta.event_id.as_deref()),
        idempotency_key: meta.and_then(|meta| meta.idempotency_key.as_deref()),
        schema_version: meta.and_then(|meta| meta.schema_version),
        headers: meta.and_then(|meta| meta.headers.as_deref()),
    }
}
