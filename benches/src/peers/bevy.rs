//! `bevy_ecs`: observers of an event, and observers of an entity for each topic.

use std::sync::Arc;

use bevy_ecs::entity::Entity;
use bevy_ecs::event::{EntityEvent, Event};
use bevy_ecs::observer::On;
use bevy_ecs::world::World;

use crate::Payload;
use crate::inline::{InlineBus, Order, Sum};

/// An order for whoever observes orders.
#[derive(Event)]
struct Placed(Payload);

/// An order for whoever observes this entity.
#[derive(EntityEvent)]
struct PlacedAt {
    entity: Entity,
    payload: Payload,
}

/// `World::trigger` to that many observers of the event's type. It has no topics: all orders are one.
#[derive(Debug)]
pub struct Observers(World);

impl InlineBus for Observers {
    const NAME: &'static str = "bevy_ecs/observers";

    fn open(_topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        let mut world = World::new();
        for _ in 0..handlers {
            let sum = Arc::clone(sum);
            world.add_observer(move |placed: On<'_, '_, Placed>| sum.add(placed.event().0.cents()));
        }
        world.flush();
        Self(world)
    }

    #[inline]
    fn emit(&mut self, _topic: usize, value: u64) {
        self.0.trigger(Placed(Payload::of(value)));
    }
}

/// `World::trigger` to an entity for each topic, with that many observers on each.
#[derive(Debug)]
pub struct EntityObservers {
    world: World,
    topics: Vec<Entity>,
}

impl InlineBus for EntityObservers {
    const NAME: &'static str = "bevy_ecs/entity_observers";

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        let mut world = World::new();
        let spawn = |_| {
            let mut topic = world.spawn_empty();
            for _ in 0..handlers {
                let sum = Arc::clone(sum);
                topic.observe(move |placed: On<'_, '_, PlacedAt>| sum.add(placed.event().payload.cents()));
            }
            topic.id()
        };
        let topics = topics.iter().map(spawn).collect();
        world.flush();
        Self { world, topics }
    }

    #[inline]
    fn emit(&mut self, topic: usize, value: u64) {
        self.world.trigger(PlacedAt { entity: self.topics[topic], payload: Payload::of(value) });
    }
}
