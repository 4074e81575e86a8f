package flowtable

// SetBackup notes to whom a flow's newest state was sent, and how far it has come:
// two bytes whose meaning is the role logic's (cluster/ownership, MG9). They are
// Go's alone. XDP reads neither, so they are written beside the sequence word: a
// connection's state is sent far more often than its line is rewritten.
//
// Only the goroutine that updates the table may call it, for a live flow.
func (f *FlowSlot) SetBackup(backup, copied uint8) { f.Backup, f.Copied = backup, copied }
