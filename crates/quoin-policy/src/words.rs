//! A cluster id as eight plain words, for people to compare by eye or over the phone.
//!
//! The words carry the first 64 bits of the id: enough to notice a mistake or a substitution that
//! was not ground for long; programs compare all 256.

use quoin_core::ClusterId;

/// The cluster id as eight words.
#[must_use]
pub fn cluster_words(cluster: &ClusterId) -> String {
    let (head, _) = cluster.as_bytes().split_at(8);
    let words = head.iter().filter_map(|b| WORDS.get(usize::from(*b)));
    words.copied().collect::<Vec<_>>().join(" ")
}

/// One word for each byte, alphabetical, none of them like another.
#[rustfmt::skip]
const WORDS: [&str; 256] = [
    "acorn", "amber", "anchor", "apple", "april", "arrow", "aspen", "atlas", "autumn", "badge",
    "baker", "bamboo", "banjo", "barley", "basil", "basket", "beacon", "beaver", "bench",
    "berry", "birch", "bishop", "bison", "blanket", "blossom", "bonfire", "bottle", "boulder",
    "bridge", "bronze", "brook", "bucket", "butter", "button", "cabin", "cactus", "camel",
    "candle", "canoe", "canyon", "carpet", "castle", "cedar", "cello", "cherry", "chimney",
    "citrus", "clover", "cobalt", "coffee", "comet", "compass", "copper", "coral", "cotton",
    "cradle", "crater", "cricket", "crimson", "crystal", "curtain", "daisy", "dancer", "desert",
    "diamond", "dolphin", "donkey", "dragon", "drummer", "eagle", "easel", "ebony", "echo",
    "ember", "emerald", "engine", "falcon", "feather", "fennel", "ferry", "fiddle", "finch",
    "flannel", "flute", "forest", "fossil", "fountain", "fox", "galaxy", "garden", "garlic",
    "garnet", "gazelle", "ginger", "glacier", "goblet", "granite", "grape", "guitar", "hammer",
    "harbor", "harvest", "hazel", "helmet", "heron", "hickory", "hollow", "honey", "horizon",
    "hotel", "hunter", "iceberg", "igloo", "indigo", "island", "ivory", "jacket", "jaguar",
    "jasmine", "jigsaw", "jungle", "juniper", "kayak", "kettle", "kingdom", "kitchen", "kiwi",
    "ladder", "lagoon", "lantern", "lavender", "lemon", "leopard", "lily", "linen", "lobster",
    "locket", "lotus", "lumber", "magnet", "mango", "maple", "marble", "meadow", "melon",
    "mirror", "mitten", "monkey", "mosaic", "mountain", "muffin", "mustard", "nectar", "needle",
    "nickel", "noodle", "nutmeg", "oasis", "ocean", "olive", "onion", "opal", "orange",
    "orchard", "orchid", "otter", "oyster", "paddle", "palace", "panda", "panther", "paper",
    "parrot", "peach", "pebble", "pelican", "pencil", "pepper", "piano", "pigeon", "pillow",
    "planet", "plum", "pocket", "pony", "poplar", "potato", "prairie", "pumpkin", "puzzle",
    "pyramid", "quartz", "quilt", "rabbit", "radish", "raven", "ribbon", "river", "robin",
    "rocket", "rooster", "ruby", "saddle", "saffron", "salmon", "sandal", "sapphire", "satchel",
    "saturn", "scarf", "shadow", "sheriff", "shovel", "silver", "slipper", "sparrow", "spider",
    "spinach", "spiral", "squash", "statue", "stone", "summit", "sunset", "swan", "table",
    "talon", "teapot", "temple", "thimble", "thunder", "tiger", "timber", "tomato", "topaz",
    "tractor", "trumpet", "tulip", "tunnel", "turtle", "umbrella", "valley", "vanilla",
    "velvet", "violet", "violin", "volcano", "wagon", "walnut", "whistle", "willow", "window",
    "winter", "wizard", "zebra", "zephyr",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_word_of_its_own() {
        let ascending = WORDS.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(ascending);
        assert!(
            WORDS
                .iter()
                .all(|w| w.bytes().all(|b| b.is_ascii_lowercase()))
        );
    }

    #[test]
    fn words_follow_the_first_eight_bytes() {
        let mut bytes = [0; 32];
        bytes[7] = 255;
        bytes[8] = 9;
        let words = cluster_words(&ClusterId(bytes));
        assert_eq!(words, "acorn acorn acorn acorn acorn acorn acorn zephyr");
    }
}
