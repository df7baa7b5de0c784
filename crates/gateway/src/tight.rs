//! Vectors of which there are many, one for each session or channel, and most have one element: with room for just what
//! is in them while they are small, and no more than four times that when they have shrunk.

/// Appends an element; doubles the room where there is none.
pub(crate) fn push<T>(elements: &mut Vec<T>, element: T) {
    if elements.len() == elements.capacity() {
        elements.reserve_exact(elements.len().max(1));
    }
    elements.push(element);
}

/// Takes an element out, the last one takes its place; gives room back.
pub(crate) fn swap_remove<T>(elements: &mut Vec<T>, at: usize) -> T {
    let taken = elements.swap_remove(at);
    if elements.len() <= elements.capacity() / 4 {
        elements.shrink_to(elements.len() * 2);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_what_is_in_it_and_none_is_kept_of_a_crowd() {
        let mut elements = Vec::new();
        push(&mut elements, 0);
        assert_eq!(elements.capacity(), 1);
        (1..100).for_each(|element| push(&mut elements, element));
        assert_eq!(elements.capacity(), 128);
        while elements.len() > 1 {
            swap_remove(&mut elements, 0);
        }
        assert!(elements.capacity() <= 2, "{}", elements.capacity());
        swap_remove(&mut elements, 0);
        assert_eq!(elements.capacity(), 0);
    }
}
