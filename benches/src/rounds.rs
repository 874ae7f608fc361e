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
    /// What the command line says: 41 rounds of 300,032 events for every member, unless it says otherwise.
    #[must_use]
    pub fn from_args() -> Self {
        Self::parse(Parser::from_env()).unwrap_or_else(|error| {
            eprintln!("error: {error}\n{USAGE}");
            process::exit(2)
        })
    }

    fn parse(mut args: Parser) -> Result<Self, lexopt::Error> {
        // A multiple of 64, so that all batches are full.
        let mut rounds = Self { rounds: 41, events: 300_032, test: false, filter: String::new() };
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

    /// Runs the members of a group and prints their table.
    ///
    /// # Panics
    /// When a member lost, repeated or changed an event.
    pub fn group(&self, group: &str, members: &[Member]) {
        let chosen = |member: &&Member| format!("{group}/{}", member.name).contains(&self.filter);
        let mut courses: Vec<_> = members.iter().filter(chosen).map(|&member| Course::new(member)).collect();
        if self.test {
            courses.iter_mut().for_each(|course| course.test(group));
            return;
        }
        for round in 0..=self.rounds {
            // Another one begins each time, so that none has always the same neighbour before it.
            let first = round % courses.len().max(1);
            let (last, rest) = courses.split_at_mut(first);
            for course in rest.iter_mut().chain(last) {
                course.run(self.events, round > 0);
            }
        }
        let (stuck, done): (Vec<_>, Vec<_>) = courses.into_iter().partition(|course| course.stuck.is_some());
        let spreads = done.into_iter().filter_map(|course| Some((course.member.name.into(), Spread::of(course.each)?)));
        medians::print_group(group, &mut spreads.collect::<Vec<_>>());
        for (member, why) in stuck.iter().filter_map(|course| Some((course.member.name, course.stuck?))) {
            println!("| {member} | failed: {why} | |");
        }
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
        self.run(6_400, true);
        println!("{}", self.stuck.map_or_else(|| "Success".to_owned(), |stuck| format!("Failed: {stuck}")));
    }
}
