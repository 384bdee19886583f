package hat

// TriggerKind says when a Function becomes due.
type TriggerKind string

const (
	Individual TriggerKind = "individual" // as soon as data it reads arrives
	Periodic   TriggerKind = "periodic"   // when its period is over and new data has arrived
	Manual     TriggerKind = "manual"     // only on request
)

// A Trigger is a kind and, for Periodic, its calendar period.
type Trigger struct {
	Kind   TriggerKind `json:"triggerType"`
	Period Period      `json:"period,omitzero"`
}
