package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cohort/api"
)

// ask returns a command that asks the node one question and shows the answer.
func ask[T any](o *options, use, short string, question func(*api.Client, context.Context) (T, error), print func(io.Writer, T) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := o.client()
			if err != nil {
				return err
			}
			defer client.Close()
			answer, err := question(client, c.Context())
			if err != nil {
				return err
			}
			if o.format == "json" {
				return printJSON(o.out, answer)
			}
			return print(o.out, answer)
		},
	}
}

func showInfo(o *options) *cobra.Command {
	return ask(o, "info", "Members, roles and states", (*api.Client).Info, func(w io.Writer, i api.Info) error {
		control := i.Control
		if control == "" {
			control = "nobody"
		}
		view := "no view"
		if i.View != "" {
			view = "view " + i.View
		}
		fmt.Fprintf(w, "Cluster %s, %s, controlled by %s\n", i.Cluster, view, control)
		fmt.Fprintf(w, "This node: %s, %s, configuration %s\n", i.Self, i.State, i.Config)
		if len(i.Addresses) > 0 {
			fmt.Fprintf(w, "Cluster address: %s\n", clusterAddresses(i.Addresses))
		}
		if i.Prepared != "" {
			fmt.Fprintf(w, "Prepared: %s, waiting for %s\n", i.Prepared, strings.Join(i.Waiting, ", "))
		}
		fmt.Fprintln(w)
		t := newTable(">ID", "NAME", "ROLE", "STATE", ">PRIORITY", "VTEP", ">HEARD", "SERIAL", "INCARNATION")
		for _, m := range i.Members {
			heard := ago(m.LastHeardMS)
			switch {
			case m.Name == i.Self:
				heard = "self"
			case m.LastHeardMS < 0:
				heard = "never"
			}
			t.row(fmt.Sprint(m.ID), m.Name, m.Role, m.State, fmt.Sprint(m.Priority), m.VTEP.String(), heard, m.Serial, m.Incarnation)
		}
		return t.print(w)
	})
}

// clusterAddresses prints "inside 10.1.0.254 2001:db8:1::254, outside 198.51.100.254".
func clusterAddresses(list []api.ClusterAddresses) string {
	texts := make([]string, 0, len(list))
	for _, i := range list {
		text := i.Interface
		for _, a := range i.Addresses {
			text += " " + a.Addr().String()
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

func showHistory(o *options) *cobra.Command {
	return ask(o, "history", "What happened to the node, oldest first", (*api.Client).History, func(w io.Writer, events []api.Event) error {
		t := newTable("TIME", "NODE", "FROM", "TO", "CAUSE")
		for _, e := range events {
			t.row(clock(e.Time), e.Node, e.From, e.To, e.Cause)
		}
		return t.print(w)
	})
}

func showHealth(o *options) *cobra.Command {
	return ask(o, "health", "What is watched, what fails and when it is tried again", (*api.Client).Health, func(w io.Writer, h api.Health) error {
		lease := "forwards for another " + ago(h.LeaseMS) + " without its daemon"
		switch {
		case h.LeaseMS == 0:
			lease = "forwards nothing: it has no lease"
		case h.LeaseMS < 0:
			lease = "forwards nothing: its lease ended " + ago(-h.LeaseMS) + " ago"
		}
		fmt.Fprintf(w, "This node: %s, hold time %s, %s\n\n", h.State, ago(h.HoldTimeMS), lease)
		if p := h.Pulse; p != nil {
			showPulse(w, p)
		}
		t := newTable("MEMBER", "CHECK", "OK", "SINCE", "NEXT ATTEMPT", "CAUSE")
		for _, c := range h.Checks {
			next := ""
			if c.Next != nil {
				next = clock(*c.Next)
			}
			t.row(c.Member, c.Name, yes(c.OK), clock(c.Since), next, c.Cause)
		}
		return t.print(w)
	})
}

// showPulse prints the process that beats in the fast profile, and whom it hears.
func showPulse(w io.Writer, p *api.Pulse) {
	how := "with real-time priority"
	if !p.Realtime {
		how = "WITHOUT real-time priority: a busy machine may look dead"
	}
	fmt.Fprintf(w, "Fast profile: beats every 50 ms, %s; last late by %.1f ms, at worst by %.1f ms\n", how, p.LatenessMS, p.WorstMS)
	for _, s := range p.Stages {
		fmt.Fprintf(w, "  %-8s  beats of others late by %.1f ms (99 %%), at worst by %.1f ms\n", s.Stage, s.P99MS, s.WorstMS)
	}
	for _, q := range p.Peers {
		switch {
		case q.BeatMS < 0:
			fmt.Fprintf(w, "  %s does not beat: it is judged by the hold time\n", q.Member)
		case q.Hold:
			fmt.Fprintf(w, "  %s is being started again: it is judged by the hold time\n", q.Member)
		default:
			fmt.Fprintf(w, "  %s beat %s ago, its event loop went round %s ago, longest silence %.0f ms\n", q.Member, ago(q.BeatMS), ago(q.LoopMS), q.LongestMS)
		}
	}
	fmt.Fprintln(w)
}

// clock prints a moment in local time, to the millisecond.
func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000") }
