//! Places for sessions or channels in a vector, each with a generation: an id that outlived its occupant is
//! refused, so that a late removal cannot hit a successor.

/// Where something lives, and which occupant of that place it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SlotId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    occupant: Option<Box<T>>,
}

/// A vector of places.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    occupied: usize,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), occupied: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.occupied
    }

    pub(crate) fn insert(&mut self, occupant: T) -> SlotId {
        self.occupied += 1;
        let occupant = Some(Box::new(occupant));
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.occupant = occupant;
            return SlotId { index, generation: slot.generation };
        }
        let index = u32::try_from(self.slots.len()).expect("a shard's sessions are bounded far below 2^32");
        self.slots.push(Slot { generation: 0, occupant });
        SlotId { index, generation: 0 }
    }

    pub(crate) fn remove(&mut self, id: SlotId) -> Option<T> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)?;
        let occupant = slot.occupant.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        self.occupied -= 1;
        Some(*occupant)
    }

    #[inline]
    pub(crate) fn get(&self, id: SlotId) -> Option<&T> {
        let slot = self.slots.get(id.index as usize)?;
        slot.occupant.as_deref().filter(|_| slot.generation == id.generation)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: SlotId) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index as usize)?;
        slot.occupant.as_deref_mut().filter(|_| slot.generation == id.generation)
    }

    /// The occupant of a place, whichever it is now.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<(SlotId, &mut T)> {
        let slot = self.slots.get_mut(index as usize)?;
        let id = SlotId { index, generation: slot.generation };
        slot.occupant.as_deref_mut().map(|occupant| (id, occupant))
    }

    /// Places, occupied or not.
    pub(crate) fn places(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.occupant.is_some())
            .map(|(index, slot)| SlotId { index: index as u32, generation: slot.generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_refused_after_its_occupant_has_gone() {
        let mut slots = Slots::new();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!(second.index, first.index);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
        assert_eq!(slots.len(), 1);
    }
}
