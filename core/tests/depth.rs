//! Nested dispatches: where they end, and that what went in comes out again.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nervebus_core::{Depth, Entry, Handler, LaneId, Priority, SubscriptionId, Tally, TooDeep, dispatch_nested};

fn entry<H>(id: u64, handler: H) -> Entry<H> {
    Entry::new(SubscriptionId::new(id), LaneId::INLINE, Priority::DEFAULT, handler)
}

#[test]
fn one_more_than_the_limit_is_refused_and_has_room_when_one_has_left() {
    let depth = Depth::new();
    let first = depth.enter(2).unwrap();
    let second = depth.enter(2).unwrap();
    let refused = depth.enter(2).unwrap_err();
    assert_eq!(refused.to_string(), "2 dispatches are running, one inside the other, and no more may");
    assert_eq!(depth.get(), 2, "a refusal counts for nothing");
    drop(first);
    let third = depth.enter(2).unwrap();
    drop((second, third));
    assert_eq!(depth.get(), 0);
}

#[test]
fn limits_may_differ_on_the_way() {
    let depth = Depth::new();
    let _outer = depth.enter(u32::MAX).unwrap();
    assert_eq!(depth.enter(1).unwrap_err(), TooDeep { limit: 1 });
    assert!(depth.enter(2).is_ok());
}

/// Two handlers that dispatch to each other, and to somebody who does not.
#[derive(Clone, Copy)]
enum Player {
    Ping,
    Pong,
    Spectator,
}

struct Game {
    depth: Depth,
    limit: u32,
    calls: Cell<u32>,
    refused: RefCell<Vec<TooDeep>>,
}

impl Game {
    fn of(limit: u32) -> Self {
        Self { depth: Depth::new(), limit, calls: Cell::new(0), refused: RefCell::default() }
    }

    fn play(&self, player: Player) -> Result<Tally, TooDeep> {
        let entries = [entry(1, player), entry(2, Player::Spectator)];
        dispatch_nested(&self.depth, self.limit, &entries, self, |_, error| self.refused.borrow_mut().push(error))
    }
}

impl Handler<Game> for Player {
    type Error = TooDeep;

    fn handle(&self, game: &Game) -> Result<(), TooDeep> {
        game.calls.set(game.calls.get() + 1);
        match self {
            Self::Ping => game.play(Self::Pong).map(drop),
            Self::Pong => game.play(Self::Ping).map(drop),
            Self::Spectator => Ok(()),
        }
    }
}

#[test]
fn handlers_that_call_each_other_in_a_circle_end_at_the_limit_and_the_others_go_on() {
    let game = Game::of(10);
    for round in 1..=3 {
        assert_eq!(game.play(Player::Ping), Ok(Tally { handled: 2, failed: 0 }));
        assert_eq!(game.calls.get(), round * 20, "a player and a spectator on each of 10 levels");
        assert_eq!(*game.refused.borrow(), vec![TooDeep { limit: 10 }; round as usize], "the innermost, once a round");
        assert_eq!(game.depth.get(), 0);
    }
}

#[test]
fn a_limit_of_zero_calls_nobody() {
    let game = Game::of(0);
    assert_eq!(game.play(Player::Spectator), Err(TooDeep { limit: 0 }));
    assert_eq!((game.calls.get(), game.depth.get()), (0, 0));
}

#[test]
fn a_panic_gives_every_level_back() {
    struct Dive<'a>(&'a Depth);
    impl Handler<u32> for Dive<'_> {
        type Error = TooDeep;
        fn handle(&self, levels: &u32) -> Result<(), TooDeep> {
            assert!(*levels > 1, "the bottom");
            dispatch_nested(self.0, 8, &[entry(1, Dive(self.0))], &(levels - 1), |_, _| ()).map(drop)
        }
    }
    let depth = Depth::new();
    let _outer = depth.enter(8).unwrap();
    for _ in 0..3 {
        assert!(catch_unwind(AssertUnwindSafe(|| Dive(&depth).handle(&5))).is_err());
        assert_eq!(depth.get(), 1);
    }
}
