//! What events must be like.

use std::sync::Arc;

use super::Builder;
use crate::admission::validation::Validation;

impl Builder {
    /// Holds every event against rules before anybody sees it. Default: none but those for [names](Self::names). Called again,
    /// it replaces the first.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) fails for a limit outside its range, a malformed pattern or path, and a domain that is none; see
    /// [`BuildError`](crate::BuildError).
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Bus, Validation, json};
    ///
    /// let rules = Validation::new().domains(["user"]).require("user.login", "username");
    /// let bus = Bus::builder().validate(rules).build()?;
    /// bus.emit("user.login", json!({"username": "alice"}))?;
    ///
    /// let error = bus.emit("order.placed", json!({})).unwrap_err();
    /// assert_eq!(error.to_string(), r#"the event is not valid: domain: there are user (found "order")"#);
    /// let report = bus.validate("user.login", &json!({}));
    /// assert_eq!(report.to_string(), "error: required_field: username: it is missing or null");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn validate(mut self, rules: Validation) -> Self {
        self.guards.validation = Some(Arc::new(rules));
        self
    }
}
