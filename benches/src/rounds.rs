//! Rounds: every member runs once in each, so that a disturbance meets all of them and not the one that was on.
//!
//! For members that need two cores to themselves, whose figures change more from minute to minute than from one to the
//! other. One round before the first is not counted.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is the result, and a wrong flag is told")]

use std::process;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

use crate::medians::{self, Spread};
use crate::ring::Stuck;

const USAGE: &str = "flags of this bench: --rounds N, --events N, --test, and a text that 'group/member' must contain";

/// A member of a group.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The member's name in the output.
    pub name: &'static str,
    /// Moves that many events and returns the time it took.
    pub run: fn(u64) -> Result<Duration, Stuck>,
}

/// How often, how much, and which members.
#[derive(Debug)]
pub struct Rounds {
    rounds: usize,
    events: u64,
    test: bool,
    filter: String,
}

impl Rounds {
    /// How many events are enough to see that a member works.
    pub(crate) const TEST_EVENTS: u64 = 6_400;

    /// What the command line says: 41 rounds of 300,032 events for every member, unless it says otherwise.
    #[must_use]
    pub fn from_args() -> Self {
        // A multiple of 64, so that all batches are full.
        Self::from_args_or(41, 300_032)
    }

    /// What the command line says: that many rounds of that many events, unless it says otherwise.
    #[must_use]
    pub fn from_args_or(rounds: usize, events: u64) -> Self {
        let unless_told = Self { rounds, events, test: false, filter: String::new() };
        unless_told.parse(Parser::from_env()).unwrap_or_else(|error| {
            eprintln!("error: {error}\n{USAGE}");
            process::exit(2)
        })
    }

    fn parse(self, mut args: Parser) -> Result<Self, lexopt::Error> {
        let mut rounds = self;
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("rounds") => rounds.rounds = args.value()?.parse()?,
                Arg::Long("events") => rounds.events = args.value()?.parse()?,
                Arg::Long("test") => rounds.test = true,
                // Cargo says it to every bench.
                Arg::Long("bench") => {}
                Arg::Value(text) => rounds.filter = text.string()?,
                _ => return Err(arg.unexpected()),
            }
        }
        Ok(rounds)
    }

    /// The same settings with `1 / by` of the events, for members that are that much slower.
    #[must_use]
    pub fn with_fewer_events(&self, by: u64) -> Self {
        Self { rounds: self.rounds, events: (self.events / by).max(1), test: self.test, filter: self.filter.clone() }
    }

    /// Whether everything is to run once and nothing is to be timed.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.test
    }

    /// Events of one member in one round.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether the command line asks for this member.
    #[must_use]
    pub fn has_chosen(&self, group: &str, member: &str) -> bool {
        format!("{group}/{member}").contains(&self.filter)
    }

    /// Runs every member once a round, one round before the first, for which `run` is told that it does not count.
    pub fn take_turns<T>(&self, members: &mut [T], mut run: impl FnMut(&mut T, bool)) {
        for round in 0..=self.rounds {
            // Another one begins each time, so that none has always the same neighbour before it.
            let first = round % members.len().max(1);
            let (last, rest) = members.split_at_mut(first);
            for member in rest.iter_mut().chain(last) {
                run(member, round > 0);
            }
        }
    }

    /// Runs the members of a group, prints their table and returns it.
    ///
    /// # Panics
    /// When a member lost, repeated or changed an event.
    pub fn group(&self, group: &str, members: &[Member]) -> Measured {
        let chosen = |member: &&Member| self.has_chosen(group, member.name);
        let mut courses: Vec<_> = members.iter().filter(chosen).map(|&member| Course::new(member)).collect();
        if self.test {
            courses.iter_mut().for_each(|course| course.test(group));
            return Measured::default();
        }
        self.take_turns(&mut courses, |course, counts| course.run(self.events, counts));
        let (stuck, done): (Vec<_>, Vec<_>) = courses.into_iter().partition(|course| course.stuck.is_some());
        let spreads = done.into_iter().filter_map(|course| Some((course.member.name.into(), Spread::of(course.each)?)));
        let mut measured = Measured { members: spreads.collect() };
        medians::print_group(group, &mut measured.members);
        for (member, why) in stuck.iter().filter_map(|course| Some((course.member.name, course.stuck?))) {
            println!("| {member} | failed: {why} | |");
        }
        measured
    }
}

/// The members of a group, as measured.
#[derive(Debug, Default)]
pub struct Measured {
    members: Vec<(String, Spread)>,
}

impl Measured {
    /// A member's median over another's; `None` unless both were measured.
    #[must_use]
    pub fn ratio(&self, member: &str, over: &str) -> Option<f64> {
        let median = |wanted| self.members.iter().find(|(name, _)| name == wanted).map(|(_, spread)| spread.median);
        Some(median(member)? / median(over)?)
    }
}

/// A member with what its rounds have shown.
#[derive(Debug)]
struct Course {
    member: Member,
    each: Vec<f64>,
    stuck: Option<Stuck>,
}

impl Course {
    fn new(member: Member) -> Self {
        Self { member, each: Vec::new(), stuck: None }
    }

    /// One round; none any more once the member was stuck.
    fn run(&mut self, events: u64, counts: bool) {
        if self.stuck.is_some() {
            return;
        }
        match (self.member.run)(events) {
            Ok(elapsed) if counts => self.each.push(elapsed.as_secs_f64() * 1e9 / events as f64),
            Ok(_) => {}
            Err(stuck) => self.stuck = Some(stuck),
        }
    }

    fn test(&mut self, group: &str) {
        println!("Testing {group}/{}", self.member.name);
        self.run(Rounds::TEST_EVENTS, true);
        println!("{}", self.stuck.map_or_else(|| "Success".to_owned(), |stuck| format!("Failed: {stuck}")));
    }
}
