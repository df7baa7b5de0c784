//! Elements of HTML and SVG, and text that may stand in them.

use crate::report::units::visible;

/// Text of others, for between tags and for within quotes.
pub(super) fn escape(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for letter in visible(text).chars() {
        match letter {
            '<' => clean.push_str("&lt;"),
            '>' => clean.push_str("&gt;"),
            '&' => clean.push_str("&amp;"),
            '"' => clean.push_str("&quot;"),
            '\'' => clean.push_str("&#39;"),
            letter => clean.push(letter),
        }
    }
    clean
}

/// An element of this class, or of none, around markup.
pub(super) fn element(name: &str, class: &str, markup: &str) -> String {
    // What is written before and after its text shows in preformatted text alone.
    let end =
        if matches!(name, "div" | "section" | "tr" | "table" | "header" | "details" | "figure") { "\n" } else { "" };
    match class {
        "" => format!("<{name}>{markup}</{name}>{end}"),
        class => format!("<{name} class=\"{class}\">{markup}</{name}>{end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_for_elements_and_attributes() {
        assert_eq!(escape("a<b>\"c\" & 'd'\n"), "a&lt;b&gt;&quot;c&quot; &amp; &#39;d&#39;\\u000a");
    }
}
