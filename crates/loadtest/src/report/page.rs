//! A report as one page of HTML: nothing is loaded, no script runs, and it can be kept, sent and put beside others.
//!
//! All text of a report goes through [`markup::escape`]: servers say why they refuse, and what they say is shown.

mod axis;
mod curve;
mod drawing;
mod markup;
mod tiles;
mod timeline;

use super::sheet::{Body, Fact, Grid, Row, Section, sections};
use super::{Report, Verdict, units};
use markup::{element, escape};

const STYLE: &str = include_str!("page/style.css");

/// The page.
pub fn page(report: &Report) -> String {
    let title = units::shown(&format!("{} · {}", report.asked.scenario, report.asked.adapter));
    let main = [heading(report, &title), tiles::tiles(report), pictures(report), tables(report), json(report)].concat();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}: {verdict}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{main}</main>\n</body>\n</html>\n",
        title = escape(&title),
        verdict = report.verdict().word(),
    )
}

fn heading(report: &Report, title: &str) -> String {
    let asked = &report.asked;
    let published = match report.publications {
        Some(_) => format!(", {} publications/s", units::number(asked.rate)),
        None => String::new(),
    };
    let size = format!(
        "{}, {}{published}, {} · {}",
        units::counted(asked.connections as u64, "connection"),
        units::counted(asked.channels.into(), "channel"),
        units::round_time(asked.duration_s * 1e6),
        units::date(report.began)
    );
    let reasons: String = report.reasons().iter().map(|reason| element("li", "", &cell(reason))).collect();
    let reasons = if reasons.is_empty() { reasons } else { element("ul", "", &reasons) };
    let words = element("p", "words", &escape(&report.verdict().to_string()));
    let verdict = element("div", verdict_class(report.verdict()), &(words + &reasons));
    element("header", "", &[element("h1", "", &escape(title)), element("p", "size", &escape(&size)), verdict].concat())
}

fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "verdict good",
        Verdict::Damaged => "verdict damaged",
        Verdict::Missed => "verdict missed",
        Verdict::Invalid => "verdict invalid",
    }
}

fn pictures(report: &Report) -> String {
    let drawn: Vec<String> = [curve::picture(report), timeline::picture(report)].into_iter().flatten().collect();
    if drawn.is_empty() { String::new() } else { element("div", "pictures", &drawn.concat()) }
}

/// Rows of numbers as wide as the page, and what is names and values in columns below.
fn tables(report: &Report) -> String {
    let (mut wide, mut narrow) = (String::new(), String::new());
    for section in sections(report) {
        match &section.body {
            Body::Grid(grid) => wide.push_str(&card(&section, &scrolled(section.name, &grid_table(grid)))),
            Body::Facts(facts) => narrow.push_str(&card(&section, &fact_table(facts))),
        }
    }
    wide + &element("div", "columns", &narrow)
}

fn card(section: &Section, table: &str) -> String {
    element("section", "card", &(element("h2", "", section.name) + table))
}

/// What may be wider than a phone; keys can move it as well.
fn scrolled(name: &str, table: &str) -> String {
    format!("<div class=\"scroll\" role=\"region\" aria-label=\"{name}\" tabindex=\"0\">{table}</div>\n")
}

fn fact_table(facts: &[Fact]) -> String {
    let row = |fact: &Fact| element("tr", "", &(row_name(&fact.label) + &element("td", "", &cell(&fact.value))));
    element("table", "facts", &facts.iter().map(row).collect::<String>())
}

fn grid_table(grid: &Grid) -> String {
    let has_notes = grid.rows.iter().any(|row| !row.note.is_empty());
    let heading: String = grid.heading.iter().map(|cell| element("th", "", cell)).collect();
    let notes = if has_notes { element("td", "", "") } else { String::new() };
    let heading = element("tr", "", &(element("td", "", "") + &heading + &notes));
    let rows: String = grid.rows.iter().map(|row| grid_row(row, has_notes)).collect();
    element("table", "grid", &(element("thead", "", &heading) + &element("tbody", "", &rows)))
}

fn grid_row(row: &Row, has_notes: bool) -> String {
    let cells: String = row.cells.iter().map(|number| element("td", "", &escape(number))).collect();
    let note = if has_notes { element("td", "note", &cell(&row.note)) } else { String::new() };
    element("tr", "", &(row_name(&row.label) + &cells + &note))
}

fn row_name(label: &str) -> String {
    format!("<th scope=\"row\">{}</th>", cell(label))
}

/// Text of others in a table; all of it is in the report at the end.
fn cell(text: &str) -> String {
    escape(&units::shown(text))
}

/// The report itself, for programs and for whoever wants to look closer.
fn json(report: &Report) -> String {
    let json = serde_json::to_string_pretty(report).expect("a report has only names for keys");
    // What is escaped for a terminal is an escape of JSON too; line ends, which are only between its values, stay.
    let lines: Vec<String> = json.lines().map(escape).collect();
    let summary = element("summary", "", "The report as JSON");
    element("details", "card", &format!("{summary}<pre tabindex=\"0\">{}</pre>\n", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    /// Elements that have no end.
    const VOID: [&str; 1] = ["meta"];

    /// Names of elements in order of their beginning; fails if they do not end as they began.
    fn elements(page: &str) -> Vec<String> {
        let (mut open, mut all) = (Vec::new(), Vec::new());
        for tag in page.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').expect("every tag ends");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            let name = tag.split([' ', '\n']).next().unwrap_or_default().to_owned();
            match name.strip_prefix('/') {
                Some(ended) => assert_eq!(open.pop().as_deref(), Some(ended)),
                None if name.starts_with('!') => {}
                None => {
                    if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
                        open.push(name.clone());
                    }
                    all.push(name);
                }
            }
        }
        assert_eq!(open, [""; 0]);
        all
    }

    /// Every number of an attribute that is a place in a picture.
    fn places(page: &str) -> Vec<f64> {
        let attributes = ["x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "d"].map(|name| format!(" {name}=\""));
        let values = attributes.iter().flat_map(|start| page.split(start.as_str()).skip(1));
        let values = values.filter_map(|rest| rest.split('"').next());
        let numbers = values.flat_map(|value| value.split([' ', ',', 'M', 'L', 'H', 'V', 'Z', 'h']));
        numbers.filter(|number| !number.is_empty()).map(|number| number.parse().expect(number)).collect()
    }

    fn count(elements: &[String], name: &str) -> usize {
        elements.iter().filter(|element| *element == name).count()
    }

    #[test]
    fn pages_are_well_formed_and_load_nothing() {
        for report in [sample::quiet(), sample::idle(), sample::full(), sample::hostile()] {
            let page = page(&report);
            let elements = elements(&page);
            for absent in ["script", "link", "img", "iframe"] {
                assert_eq!(count(&elements, absent), 0, "{absent}");
            }
            assert!(!page.contains("http://") && !page.contains("https://"));
            assert!(places(&page).iter().all(|place| place.is_finite() && (-1.0..=1_000.0).contains(place)));
        }
    }

    #[test]
    fn a_run_with_everything_has_both_pictures_and_all_tables() {
        let page = page(&sample::full());
        let elements = elements(&page);
        assert_eq!((count(&elements, "svg"), count(&elements, "h1"), count(&elements, "details")), (2, 1, 1));
        assert_eq!(count(&elements, "h2"), sections(&sample::full()).len());
        assert!(page.contains("<title>storm · fanfare: damaged</title>"));
        assert!(page.contains("<li>lost: 12 of 548,000 deliveries</li>"));
        assert!(page.contains("recovered"));
    }

    #[test]
    fn what_was_not_measured_leaves_no_empty_picture() {
        let elements = elements(&page(&sample::idle()));
        assert_eq!((count(&elements, "svg"), count(&elements, "figure")), (0, 0));
    }

    #[test]
    fn text_of_a_server_stays_text() {
        let page = page(&sample::hostile());
        assert!(!page.contains("<script") && !page.contains("</script"));
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;\\u202e"));
        assert!(!page.contains(|letter: char| letter.is_control() && letter != '\n'));
    }

    #[test]
    fn the_json_in_a_page_is_the_report() {
        let report = sample::hostile();
        let page = page(&report);
        let (_, rest) = page.split_once("<pre tabindex=\"0\">").unwrap();
        let (json, _) = rest.split_once("</pre>").unwrap();
        let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
        let json = entities.into_iter().fold(json.to_owned(), |json, (entity, letter)| json.replace(entity, letter));
        let read = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert!(read(&json) == read(&serde_json::to_string(&report).unwrap()), "{json}");
    }
}
