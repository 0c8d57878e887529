"""The widget shows what `diagnose` says, and passes on what is answered."""

from helpers.failures import UNKNOWN, diagnose, look_up

LOCKED = "sqlite3.OperationalError: database is locked"


def click(widget, name):
    buttons = widget.choices.children
    next(b for b in buttons if b.description.split(":")[0] == name).click()


def test_a_click_shows_the_diagnosis():
    widget = look_up()
    assert (widget.output.value, widget.diagnosis) == ("", None)
    widget.area.value = LOCKED
    widget.button.click()
    assert widget.output.value == diagnose(LOCKED)._repr_html_()


def test_the_question_is_answered_by_a_click():
    widget = look_up()
    widget.area.value = LOCKED
    widget.button.click()
    click(widget, "at once")
    assert widget.diagnosis == diagnose(LOCKED, seen="at once")
    assert "You said: seen: at once" in widget.output.value
    click(widget, "delete")
    assert widget.answers == {"seen": "at once", "journal_mode": "delete"}


def test_who_does_not_know_learns_how_to_find_out():
    widget = look_up()
    widget.area.value = LOCKED
    widget.button.click()
    click(widget, UNKNOWN)
    assert "To find out:" in widget.output.value
    assert "lsof" in widget.output.value
    assert widget.diagnosis.question.key != "seen"


def test_a_new_text_starts_anew():
    widget = look_up()
    widget.area.value = LOCKED
    widget.button.click()
    click(widget, "at once")
    widget.area.value = "all is well"
    widget.button.click()
    assert widget.answers == {}
    assert "No match" in widget.output.value
    assert list(widget.choices.children) == []


def test_what_is_pasted_is_not_html():
    widget = look_up()
    widget.area.value = "<script>x</script> unclosed database"
    widget.button.click()
    assert "<script>" not in widget.output.value


def test_without_widgets_it_is_a_text():
    bundle = look_up()._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"].startswith("Paste an error")
