// Command cohort shows, changes and checks nodes of a cluster.
//
//	cohort [--socket PATH] show cluster info | history | health
//	cohort [--socket PATH] show conn [filters] [--count]
//	cohort [--socket PATH] show nat pool [NAME]
//	cohort [--socket PATH] show xlate [--local] [filters]
//	cohort [--socket PATH] show counters | drops | interfaces
//	cohort [--socket PATH] forget [--yes] NODE
//	cohort [--socket PATH] reload
//	cohort keygen [--add | --use | --drop] FILE
//	cohort check-config FILE...
//
// Every show takes -o json. Errors are one line on standard error, and the
// exit status is 1 then.
package main
