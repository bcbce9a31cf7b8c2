//! Expressions. Chains of AND and OR become lists, so that what remains is never deep; depth is counted all the same.

use hypermnesia_store::calendar::Moment;
use hypermnesia_store::{Type, Value};
use sqlparser::ast;

use super::place::{beyond, first_of, first_word, leftmost};
use super::{Parsed, ident, refuse, refuse_at, unsupported};
use crate::error::{ErrorKind, Fault, Span};
use crate::limits::EXPRESSION_DEPTH_MAX;
use crate::syntax::{Binary, Expr, Name, Node};

pub(super) fn expression(expr: ast::Expr) -> Parsed<Expr> {
    Reader { depth: 0 }.read(expr)
}

struct Reader {
    depth: usize,
}

impl Reader {
    fn read(&mut self, expr: ast::Expr) -> Parsed<Expr> {
        if self.depth >= EXPRESSION_DEPTH_MAX {
            let message = format!("the expression is nested deeper than {EXPRESSION_DEPTH_MAX} levels");
            return Err(Fault::new(ErrorKind::Limit, leftmost(&expr), message));
        }
        self.depth += 1;
        let read = self.node(expr);
        self.depth -= 1;
        read
    }

    fn boxed(&mut self, expr: ast::Expr) -> Parsed<Box<Expr>> {
        self.read(expr).map(Box::new)
    }

    fn all(&mut self, exprs: impl IntoIterator<Item = ast::Expr>) -> Parsed<Vec<Expr>> {
        exprs.into_iter().map(|expr| self.read(expr)).collect()
    }

    fn node(&mut self, expr: ast::Expr) -> Parsed<Expr> {
        use ast::Expr as E;
        match expr {
            E::Identifier(column) => Ok(column_of(None, ident(column))),
            E::CompoundIdentifier(parts) => compound(parts),
            E::Nested(inner) => self.read(*inner),
            E::Value(value) => literal(value),
            E::TypedString(typed) => typed_string(typed),
            E::BinaryOp { op: ast::BinaryOperator::And | ast::BinaryOperator::Or, .. } => self.chain(expr),
            E::BinaryOp { left, op, right } => self.binary(*left, op, *right),
            E::UnaryOp { op, expr } => self.unary(op, *expr),
            E::IsNull(inner) => self.is(*inner, false, |e| Node::IsNull(Box::new(e))),
            E::IsNotNull(inner) => self.is(*inner, true, |e| Node::IsNull(Box::new(e))),
            E::IsTrue(inner) => self.is(*inner, false, |e| Node::IsTruth(Box::new(e), Some(true))),
            E::IsNotTrue(inner) => self.is(*inner, true, |e| Node::IsTruth(Box::new(e), Some(true))),
            E::IsFalse(inner) => self.is(*inner, false, |e| Node::IsTruth(Box::new(e), Some(false))),
            E::IsNotFalse(inner) => self.is(*inner, true, |e| Node::IsTruth(Box::new(e), Some(false))),
            E::IsUnknown(inner) => self.is(*inner, false, |e| Node::IsTruth(Box::new(e), None)),
            E::IsNotUnknown(inner) => self.is(*inner, true, |e| Node::IsTruth(Box::new(e), None)),
            E::IsDistinctFrom(a, b) => self.two(Binary::DistinctFrom, *a, *b),
            E::IsNotDistinctFrom(a, b) => self.two(Binary::NotDistinctFrom, *a, *b),
            E::InList { expr, list, negated } => {
                let value = self.boxed(*expr)?;
                let list = self.all(list)?;
                let span = list.last().map_or(value.span, |last| value.span.to(last.span));
                Ok(negate(negated, Expr { span, node: Node::InList(value, list) }))
            }
            E::Between { expr, negated, low, high } => {
                let (value, low, high) = (self.boxed(*expr)?, self.boxed(*low)?, self.boxed(*high)?);
                let span = value.span.to(high.span);
                Ok(negate(negated, Expr { span, node: Node::Between(value, low, high) }))
            }
            E::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(negated, *expr, *pattern, escape_char, false)
            }
            E::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(negated, *expr, *pattern, escape_char, true)
            }
            E::Case { case_token, end_token, operand, conditions, else_result } => {
                let operand = operand.map(|e| self.boxed(*e)).transpose()?;
                let branches = conditions
                    .into_iter()
                    .map(|when| Ok((self.read(when.condition)?, self.read(when.result)?)))
                    .collect::<Parsed<_>>()?;
                let otherwise = else_result.map(|e| self.boxed(*e)).transpose()?;
                let span = Span::from(case_token.0.span).to(end_token.0.span.into());
                Ok(Expr { span, node: Node::Case { operand, branches, otherwise } })
            }
            E::Cast {
                kind: ast::CastKind::Cast | ast::CastKind::DoubleColon,
                expr,
                data_type,
                format: None,
                ..
            } => {
                let inner = self.boxed(*expr)?;
                let span = inner.span;
                let ty = type_of(&data_type).ok_or_else(|| {
                    let name = data_type.to_string();
                    unsupported(span, &format!("the type {name}")).behind(&[first_of(&name)])
                })?;
                Ok(Expr { span, node: Node::Cast(inner, ty) })
            }
            E::Array(array) => {
                let items = self.all(array.elem)?;
                let span = items.iter().fold(Span::NONE, |span, item| span.to(item.span));
                Ok(Expr { span, node: Node::List(items) })
            }
            E::Dictionary(fields) => self.dictionary(fields),
            E::Function(function) => self.call(function),
            E::Ceil { expr, field: ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) } => {
                self.builtin("ceil", [*expr])
            }
            E::Floor { expr, field: ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) } => {
                self.builtin("floor", [*expr])
            }
            E::Position { expr, r#in } => self.builtin("position", [*expr, *r#in]),
            E::Substring { expr, substring_from: Some(from), substring_for, .. } => self
                .builtin("substr", [Some(expr), Some(from), substring_for].into_iter().flatten().map(|e| *e)),
            E::Trim { trim_where: None, trim_what: None, expr, trim_characters: None } => {
                self.builtin("trim", [*expr])
            }
            E::AnyOp { left, compare_op: ast::BinaryOperator::Eq, right, .. } if is_list(&right) => {
                self.builtin("contains", [*right, *left])
            }
            E::AllOp { left, compare_op: ast::BinaryOperator::NotEq, right } if is_list(&right) => {
                Ok(negate(true, self.builtin("contains", [*right, *left])?))
            }
            E::InSubquery { subquery, .. } | E::Subquery(subquery) | E::Exists { subquery, .. } => {
                Err(unsupported(first_word(&subquery), "a subquery")
                    .hint("join with the other table instead"))
            }
            other => Err(beyond(&other)),
        }
    }

    /// The operands of AND or OR, without recursion along the chain.
    fn chain(&mut self, expr: ast::Expr) -> Parsed<Expr> {
        let ast::Expr::BinaryOp { op: chained, .. } = &expr else { return self.node(expr) };
        let chained = chained.clone();
        let (mut operands, mut rest) = (Vec::new(), expr);
        loop {
            match rest {
                ast::Expr::BinaryOp { left, op, right } if op == chained => {
                    operands.push(*right);
                    rest = *left;
                }
                first => {
                    operands.push(first);
                    break;
                }
            }
        }
        let operands = self.all(operands.into_iter().rev())?;
        let span = operands.iter().fold(Span::NONE, |span, operand| span.to(operand.span));
        let node = if chained == ast::BinaryOperator::And { Node::And(operands) } else { Node::Or(operands) };
        Ok(Expr { span, node })
    }

    fn two(&mut self, op: Binary, left: ast::Expr, right: ast::Expr) -> Parsed<Expr> {
        let (left, right) = (self.boxed(left)?, self.boxed(right)?);
        Ok(Expr { span: left.span.to(right.span), node: Node::Binary(op, left, right) })
    }

    fn binary(&mut self, left: ast::Expr, op: ast::BinaryOperator, right: ast::Expr) -> Parsed<Expr> {
        use ast::BinaryOperator as B;
        let op = match op {
            B::Plus => Binary::Add,
            B::Minus => Binary::Subtract,
            B::Multiply => Binary::Multiply,
            B::Divide => Binary::Divide,
            B::Modulo => Binary::Remainder,
            B::StringConcat => Binary::Concat,
            B::Eq => Binary::Equal,
            B::NotEq => Binary::NotEqual,
            B::Lt => Binary::Less,
            B::LtEq => Binary::LessOrEqual,
            B::Gt => Binary::Greater,
            B::GtEq => Binary::GreaterOrEqual,
            other => {
                let sign = other.to_string();
                return Err(unsupported(leftmost(&left), &format!("the operator {sign}")).behind(&[&sign]));
            }
        };
        self.two(op, left, right)
    }

    fn unary(&mut self, op: ast::UnaryOperator, expr: ast::Expr) -> Parsed<Expr> {
        // The least integer has no positive counterpart, so the sign belongs to the literal.
        if let (ast::UnaryOperator::Minus, ast::Expr::Value(value)) = (&op, &expr)
            && let ast::Value::Number(digits, false) = &value.value
        {
            let node = Node::Literal(number(&format!("-{digits}"), value.span.into())?);
            return Ok(Expr { span: value.span.into(), node });
        }
        let inner = self.read(expr)?;
        let span = inner.span;
        match op {
            ast::UnaryOperator::Plus => Ok(inner),
            ast::UnaryOperator::Minus => Ok(Expr { span, node: Node::Negate(Box::new(inner)) }),
            ast::UnaryOperator::Not => Ok(negate(true, inner)),
            other => Err(unsupported(span, &format!("the operator {other}"))),
        }
    }

    fn is(&mut self, inner: ast::Expr, negated: bool, node: impl Fn(Expr) -> Node) -> Parsed<Expr> {
        let inner = self.read(inner)?;
        Ok(negate(negated, Expr { span: inner.span, node: node(inner) }))
    }

    fn like(
        &mut self,
        negated: bool,
        value: ast::Expr,
        pattern: ast::Expr,
        escape: Option<Box<ast::Expr>>,
        fold: bool,
    ) -> Parsed<Expr> {
        let (value, pattern) = (self.boxed(value)?, self.boxed(pattern)?);
        let span = value.span.to(pattern.span);
        let escape =
            escape.map(|e| self.read(*e)).transpose()?.map(|escape| one_char(&escape)).transpose()?;
        Ok(negate(negated, Expr { span, node: Node::Like { value, pattern, escape, fold } }))
    }

    fn dictionary(&mut self, fields: Vec<ast::DictionaryField>) -> Parsed<Expr> {
        let mut span = Span::NONE;
        let mut pairs = Vec::with_capacity(fields.len());
        for field in fields {
            let key = ident(field.key);
            let value = self.read(*field.value)?;
            span = span.to(key.span).to(value.span);
            pairs.push((Expr { span: key.span, node: Node::Literal(Value::Text(key.text)) }, value));
        }
        Ok(Expr { span, node: Node::Map(pairs) })
    }

    fn builtin(&mut self, name: &str, arguments: impl IntoIterator<Item = ast::Expr>) -> Parsed<Expr> {
        let arguments = self.all(arguments)?;
        let span = arguments.iter().fold(Span::NONE, |span, argument| span.to(argument.span));
        let name = Name { text: name.to_owned(), quoted: false, span };
        Ok(Expr { span, node: Node::Call { name, arguments, distinct: false, star: false } })
    }

    fn call(&mut self, function: ast::Function) -> Parsed<Expr> {
        let name = super::name(function.name)?;
        refuse(function.over.is_some(), name.span, "a window function (OVER)")?;
        refuse_at(function.filter.is_some(), name.span, &["FILTER"], "FILTER")?;
        refuse_at(!function.within_group.is_empty(), name.span, &["WITHIN"], "WITHIN GROUP")?;
        refuse_at(function.null_treatment.is_some(), name.span, &["IGNORE", "RESPECT"], "IGNORE NULLS")?;
        refuse(function.parameters != ast::FunctionArguments::None, name.span, "a function with parameters")?;
        let list = match function.args {
            ast::FunctionArguments::List(list) => list,
            ast::FunctionArguments::None => {
                let node =
                    Node::Call { arguments: Vec::new(), distinct: false, star: false, name: name.clone() };
                return Ok(Expr { span: name.span, node });
            }
            ast::FunctionArguments::Subquery(query) => {
                return Err(unsupported(first_word(&query), "a subquery"));
            }
        };
        refuse(!list.clauses.is_empty(), name.span, "a clause among the arguments")?;
        let (mut arguments, mut star) = (Vec::new(), false);
        for argument in list.args {
            match argument {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => {
                    arguments.push(self.read(expr)?)
                }
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard) => star = true,
                _ => return Err(unsupported(name.span, "an argument with a name")),
            }
        }
        let distinct = list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct);
        let span = arguments.iter().fold(name.span, |span, argument| span.to(argument.span));
        Ok(Expr { span, node: Node::Call { name, arguments, distinct, star } })
    }
}

/// Whether ANY and ALL go through a list rather than the rows of a subquery.
fn is_list(right: &ast::Expr) -> bool {
    match right {
        ast::Expr::Nested(inner) => is_list(inner),
        other => !matches!(other, ast::Expr::Subquery(_)),
    }
}

fn negate(negated: bool, expr: Expr) -> Expr {
    if negated { Expr { span: expr.span, node: Node::Not(Box::new(expr)) } } else { expr }
}

fn column_of(table: Option<Name>, name: Name) -> Expr {
    let span = table.as_ref().map_or(name.span, |table| table.span.to(name.span));
    Expr { span, node: Node::Column { table, name } }
}

fn compound(parts: Vec<ast::Ident>) -> Parsed<Expr> {
    let mut names = parts.into_iter().map(ident);
    match (names.next(), names.next(), names.next()) {
        (Some(table), Some(name), None) => Ok(column_of(Some(table), name)),
        (first, _, third) => {
            let span = first.map_or(Span::NONE, |f| third.map_or(f.span, |t| f.span.to(t.span)));
            Err(unsupported(span, "a name of more than two parts"))
        }
    }
}

fn literal(value: ast::ValueWithSpan) -> Parsed<Expr> {
    let span: Span = value.span.into();
    let node = match value.value {
        ast::Value::Number(digits, _) => Node::Literal(number(&digits, span)?),
        ast::Value::SingleQuotedString(text) => Node::Literal(Value::Text(text)),
        ast::Value::DollarQuotedString(text) => Node::Literal(Value::Text(text.value)),
        ast::Value::HexStringLiteral(digits) => Node::Literal(hex(&digits, span)?),
        ast::Value::Boolean(truth) => Node::Literal(Value::Bool(truth)),
        ast::Value::Null => Node::Literal(Value::Null),
        ast::Value::Placeholder(text) => {
            let number = text.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
            let index = number.checked_sub(1).ok_or_else(|| unsupported(span, "this parameter"))?;
            Node::Parameter(index)
        }
        _ => return Err(unsupported(span, "this kind of literal").hint("text is written 'like this'")),
    };
    Ok(Expr { span, node })
}

/// A whole number if it is written as one and fits, else a float.
fn number(digits: &str, span: Span) -> Parsed<Value> {
    if !digits.contains(['.', 'e', 'E']) {
        if let Ok(n) = digits.parse::<i64>() {
            return Ok(Value::Int(n));
        }
        if let Ok(n) = digits.parse::<u64>() {
            return Ok(Value::Uint(n));
        }
        let message = format!("{digits} does not fit 64 bits");
        return Err(Fault::new(ErrorKind::Value, span, message).hint("write a float as 1e20 or 1.0"));
    }
    match digits.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(Value::Float(x)),
        _ => Err(Fault::new(ErrorKind::Value, span, format!("{digits} does not fit a float"))),
    }
}

fn hex(digits: &str, span: Span) -> Parsed<Value> {
    let wrong =
        || Fault::new(ErrorKind::Syntax, span, "bytes are written as pairs of hexadecimal digits: x'00ff'");
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return Err(wrong());
    }
    let pairs = (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16));
    pairs.collect::<Result<Vec<u8>, _>>().map(Value::Bytes).map_err(|_| wrong())
}

/// `TIMESTAMP '2026-11-21 02:00:00'` and `DATE '2026-11-21'`.
fn typed_string(typed: ast::TypedString) -> Parsed<Expr> {
    let span: Span = typed.value.span.into();
    let is_time =
        type_of(&typed.data_type) == Some(Type::Timestamp) || typed.data_type == ast::DataType::Date;
    let (true, ast::Value::SingleQuotedString(text)) = (is_time, typed.value.value) else {
        let name = typed.data_type.to_string();
        return Err(unsupported(span, "this kind of literal").before(&[first_of(&name)]));
    };
    let moment = Moment::parse(&text).ok_or_else(|| {
        Fault::new(ErrorKind::Value, span, format!("{text:?} is no moment"))
            .hint("a moment is written 2026-11-21 or 2026-11-21T02:09:41.5Z")
    })?;
    Ok(Expr { span, node: Node::Literal(Value::Timestamp(moment.0)) })
}

fn one_char(escape: &Expr) -> Parsed<char> {
    if let Node::Literal(Value::Text(text)) = &escape.node {
        let mut chars = text.chars();
        if let (Some(one), None) = (chars.next(), chars.next()) {
            return Ok(one);
        }
    }
    Err(Fault::new(ErrorKind::Syntax, escape.span, "ESCAPE takes one character"))
}

/// The type that a SQL type name means here.
pub(super) fn type_of(data_type: &ast::DataType) -> Option<Type> {
    use ast::DataType as D;
    Some(match data_type {
        D::TinyInt(_)
        | D::SmallInt(_)
        | D::Int(_)
        | D::Int4(_)
        | D::Int8(_)
        | D::Int64
        | D::Integer(_)
        | D::BigInt(_)
        | D::IntUnsigned(_)
        | D::IntegerUnsigned(_)
        | D::BigIntUnsigned(_) => Type::Int,
        D::Float(_) | D::Float64 | D::Real | D::Float8 | D::Double(_) | D::DoublePrecision => Type::Float,
        D::Character(_)
        | D::Char(_)
        | D::CharVarying(_)
        | D::Varchar(_)
        | D::Nvarchar(_)
        | D::Text
        | D::String(_) => Type::Text,
        D::Binary(_) | D::Varbinary(_) | D::Blob(_) | D::Bytes(_) | D::Bytea => Type::Bytes,
        D::Bool | D::Boolean => Type::Bool,
        D::Datetime(_) | D::Timestamp(..) => Type::Timestamp,
        D::Array(_) => Type::List,
        D::Map(..) => Type::Map,
        D::Custom(name, arguments) if arguments.is_empty() => name.to_string().parse().ok()?,
        _ => return None,
    })
}
