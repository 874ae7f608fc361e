//! JSON numbers, compared exactly.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// A number of a JSON document.
#[derive(Debug, Clone, Copy)]
pub(super) enum Num {
    Integer(i128),
    /// Not a whole number, or one beyond 64 bits.
    Float(f64),
}

impl Num {
    pub(super) fn of(value: &Value) -> Option<Self> {
        value.as_number().and_then(Self::from_number)
    }

    fn from_number(number: &Number) -> Option<Self> {
        if let Some(integer) = number.as_i128() {
            return Some(Self::Integer(integer));
        }
        let float = number.as_f64()?;
        // 2^100: every whole number up to there has its exact value in both.
        let whole = float.fract() == 0.0 && float.abs() < 1.267_650_600_228_229_4e30;
        Some(if whole { Self::Integer(float as i128) } else { Self::Float(float) })
    }

    pub(super) fn is_whole(self) -> bool {
        match self {
            Self::Integer(_) => true,
            Self::Float(float) => float.fract() == 0.0,
        }
    }

    pub(super) fn cmp(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(&b),
            // A float is no whole number, or larger than any integer here: rounding changes no order.
            (Self::Integer(a), Self::Float(b)) => (a as f64).total_cmp(&b),
            (Self::Float(a), Self::Integer(b)) => a.total_cmp(&(b as f64)),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(&b),
        }
    }

    /// Whether this is a multiple of `other`; `None` where rounding leaves that open.
    pub(super) fn is_multiple_of(self, other: Self) -> Option<bool> {
        match (self, other) {
            (Self::Integer(_), Self::Integer(0)) => None,
            (Self::Integer(a), Self::Integer(b)) => Some(a % b == 0),
            _ if self.cmp(other) == Ordering::Equal => Some(true),
            _ => None,
        }
    }
}

/// A bound from one side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) at: Num,
    pub(super) exclusive: bool,
}

impl Bound {
    /// For whole numbers: the same bound with the number itself allowed.
    pub(super) fn of_integers(self, step: i128) -> Self {
        match self.at {
            Num::Integer(at) if self.exclusive => Self { at: Num::Integer(at + step), exclusive: false },
            _ => self,
        }
    }
}
