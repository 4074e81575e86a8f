package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"cohort/api"
)

// stream asks for what may be too much to hold, and prints it as it comes.
func stream[F, V any](ctx context.Context, o *options, ask func(context.Context, F, int, func(*V) error) (api.End, error), filter F, limit int,
	heads []string, cells func(*V) []string,
) error {
	visit := func(print func(*V) error) (api.End, error) { return ask(ctx, filter, limit, print) }
	if o.format == "json" {
		return streamJSON(o.out, visit)
	}
	return streamTable(o.out, visit, heads, cells)
}

// streamTable prints a table a page at a time, so that memory stays bounded;
// columns are aligned within a page.
func streamTable[V any](w io.Writer, visit func(func(*V) error) (api.End, error), heads []string, cells func(*V) []string) error {
	const page = 1000
	t := newTable(slices.Clone(heads)...)
	end, err := visit(func(v *V) error {
		t.row(cells(v)...)
		if len(t.rows) <= page {
			return nil
		}
		err := t.print(w)
		t = newTable(slices.Clone(heads)...)
		return err
	})
	if err != nil {
		return err
	}
	if len(t.rows) > 1 || end.Shown == 0 {
		if err := t.print(w); err != nil {
			return err
		}
	}
	if end.More {
		_, err = fmt.Fprintf(w, "there are more than these %s; use filters or --limit 0\n", thousands(end.Shown))
	}
	return err
}

// streamJSON prints one array, an element a line.
func streamJSON[V any](w io.Writer, visit func(func(*V) error) (api.End, error)) error {
	separator := "[\n"
	_, err := visit(func(v *V) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s  %s", separator, text)
		separator = ",\n"
		return err
	})
	if err != nil {
		return err
	}
	tail := "\n]\n"
	if separator == "[\n" {
		tail = "[]\n"
	}
	_, err = io.WriteString(w, tail)
	return err
}
