module golambda

go 1.26.3

require github.com/aws/aws-lambda-go v1.55.1
