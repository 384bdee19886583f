package hat

// TriggerKind says when a Function becomes due.
type TriggerKind string

const (
	Individual TriggerKind = "individual" // as soon as data it reads arrives
	Periodic   TriggerKind = "periodic"   // when its period is over and new data has arrived
	Manual     TriggerKind = "manual"     // only when somebody asks
)
