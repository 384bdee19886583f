// Command bootstrap is echo in Go: it copies each record it is given, and links the copy to it.
package main

func main() {
	serve("echo-go", func(records []record) ([]response, error) {
		answers := make([]response, 0, len(records))
		for _, r := range records {
			answers = append(answers, response{
				Namespace: "test", Endpoint: "out",
				Data:          []any{object{"of": r.RecordID, "data": r.Data}},
				LinkedRecords: []string{r.RecordID},
			})
		}
		return answers, nil
	})
}
